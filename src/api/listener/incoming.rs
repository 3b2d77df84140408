//! Accepts connections at one socket or several, each of which gets a place.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use places::Places;
use tokio::time::{Sleep, sleep};
use tokio_stream::Stream;
use tracing::{debug, warn};

use super::{
    Listener, Socket,
    connection::{Channel, Connection, Peer, PeerAddress, Plain},
    handshakes::Handshakes,
};

/// The pause after an error that does not pass by itself, such as no free file descriptors. It doubles from
/// the first to the last.
const BACK_OFF_MIN: Duration = Duration::from_millis(5);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// The stream of connections of some listeners, which never ends and has no errors.
pub struct Incoming {
    sockets: Vec<Accepting>,
    /// The index of the socket that is asked first. It goes round, so that a busy one keeps nobody from another.
    first: usize,
    places: Places,
}

/// A socket, and what goes on at it.
struct Accepting {
    socket: Socket,
    /// Set with TLS only.
    handshakes: Option<Handshakes>,
    back_off: Duration,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Incoming {
    /// The connections of all listeners take places of these.
    pub fn new(listeners: impl IntoIterator<Item = Listener>, places: Places) -> Self {
        Self {
            sockets: listeners.into_iter().map(Accepting::new).collect(),
            first: 0,
            places,
        }
    }

    #[cfg(test)]
    pub(super) fn pause(&mut self, error: &io::Error) {
        self.sockets[0].pause(error);
    }
}

impl Accepting {
    fn new(listener: Listener) -> Self {
        Self {
            socket: listener.socket,
            handshakes: listener.tls.map(Handshakes::new),
            back_off: BACK_OFF_MIN,
            pause: None,
        }
    }

    fn poll_next(&mut self, places: &Places, cx: &mut Context<'_>) -> Poll<Connection> {
        if let Some(handshakes) = &mut self.handshakes
            && let Poll::Ready(connection) = handshakes.poll_next(cx)
        {
            return Poll::Ready(connection);
        }
        loop {
            let (stream, address) = ready!(self.poll_client(places, cx));
            let place = places.enter(address.ip());
            let Some(handshakes) = &mut self.handshakes else {
                let peer = Peer::new(address, &place);
                let channel = Channel::Plain(stream);
                return Poll::Ready(Connection::new(channel, peer, place));
            };
            handshakes.start(stream, address, place);
            if let Poll::Ready(connection) = handshakes.poll_next(cx) {
                return Poll::Ready(connection);
            }
        }
    }

    /// The next client.
    fn poll_client(&mut self, places: &Places, cx: &mut Context<'_>) -> Poll<(Plain, PeerAddress)> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            ready!(places.poll_room(cx));
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

    fn pause(&mut self, error: &io::Error) {
        warn!(%error, wait = ?self.back_off, "cannot accept connections");
        self.pause = Some(Box::pin(sleep(self.back_off)));
        self.back_off = (self.back_off * 2).min(BACK_OFF_MAX);
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self {
            sockets,
            first,
            places,
        } = &mut *self;
        let count = sockets.len();
        for turn in 0..count {
            let index = (*first + turn) % count;
            if let Poll::Ready(connection) = sockets[index].poll_next(places, cx) {
                *first = (index + 1) % count;
                return Poll::Ready(Some(Ok(connection)));
            }
        }
        Poll::Pending
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
