//! Accepts connections, each of which gets a place.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use places::Places;
use tokio::time::{Sleep, sleep};
use tokio_stream::Stream;
use tracing::{debug, warn};

use super::{
    Socket,
    connection::{Channel, Connection, Peer, PeerAddress, Plain},
    handshakes::Handshakes,
};
use crate::tls::ServerTls;

/// The pause after an error that does not pass by itself, such as no free file descriptors. It doubles from
/// the first to the last.
const BACK_OFF_MIN: Duration = Duration::from_millis(5);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

pub struct Incoming {
    socket: Socket,
    /// Set with TLS only.
    handshakes: Option<Handshakes>,
    places: Places,
    back_off: Duration,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Incoming {
    pub(super) fn new(socket: Socket, tls: Option<Arc<ServerTls>>, places: Places) -> Self {
        Self {
            socket,
            handshakes: tls.map(Handshakes::new),
            places,
            back_off: BACK_OFF_MIN,
            pause: None,
        }
    }

    /// The next client.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<(Plain, PeerAddress)> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            ready!(self.places.poll_room(cx));
            match ready!(self.poll_accept(cx)) {
                Ok(client) => {
                    self.back_off = BACK_OFF_MIN;
                    return Poll::Ready(client);
                }
                Err(error) if is_of_one_connection(&error) => debug!(%error, "a client left early"),
                Err(error) => self.pause(&error),
            }
        }
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Plain, PeerAddress)>> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, address) = ready!(listener.poll_accept(cx))?;
                // Small answers must not wait for the client's delayed acknowledgement.
                stream.set_nodelay(true)?;
                Poll::Ready(Ok((Plain::Tcp(stream), PeerAddress::Tcp(address))))
            }
            Socket::Unix(socket) => {
                let (stream, _) = ready!(socket.listener.poll_accept(cx))?;
                Poll::Ready(Ok((Plain::Unix(stream), PeerAddress::Unix)))
            }
        }
    }

    pub(super) fn pause(&mut self, error: &io::Error) {
        warn!(%error, wait = ?self.back_off, "cannot accept connections");
        self.pause = Some(Box::pin(sleep(self.back_off)));
        self.back_off = (self.back_off * 2).min(BACK_OFF_MAX);
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(handshakes) = &mut self.handshakes
            && let Poll::Ready(connection) = handshakes.poll_next(cx)
        {
            return Poll::Ready(Some(Ok(connection)));
        }
        loop {
            let (stream, address) = ready!(self.poll_client(cx));
            let place = self.places.enter(address.ip());
            let Some(handshakes) = &mut self.handshakes else {
                let peer = Peer::new(address, None, &place);
                let channel = Channel::Plain(stream);
                return Poll::Ready(Some(Ok(Connection::new(channel, peer, place))));
            };
            handshakes.start(stream, address, place);
            if let Poll::Ready(connection) = handshakes.poll_next(cx) {
                return Poll::Ready(Some(Ok(connection)));
            }
        }
    }
}

/// Returns whether the error says nothing about the next connection.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, InvalidInput, NotConnected};
    // Invalid input is what setting an option of a connection gives that is gone.
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | InvalidInput | NotConnected
    )
}
