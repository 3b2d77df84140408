//! TLS handshakes, which run beside the accept loop: a slow client holds up no other.

use std::{
    io,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use places::Place;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
    time::{Instant, timeout},
};
use tracing::{debug, warn};

use super::connection::{Channel, Connection, Peer, PeerAddress, Plain};
use crate::tls::ServerTls;

/// The longest that one may take: the round trips of a very slow network.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A failure is of one client, and a client may try often: one warning per this time is enough.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// The first byte of a TLS record that is a handshake.
const HANDSHAKE_RECORD: u8 = 0x16;

/// The answer of Go's server to plain HTTP.
const NOT_TLS: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

pub(super) struct Handshakes {
    tls: Arc<ServerTls>,
    running: JoinSet<Result<Connection, (PeerAddress, io::Error)>>,
    warned: Option<Instant>,
}

impl Handshakes {
    pub fn new(tls: Arc<ServerTls>) -> Self {
        Self {
            tls,
            running: JoinSet::new(),
            warned: None,
        }
    }

    /// Begins one. It ends when others need its place, too.
    pub fn start(&mut self, stream: Plain, address: PeerAddress, place: Place) {
        let tls = self.tls.clone();
        self.running.spawn(async move {
            let shaking = timeout(HANDSHAKE_TIMEOUT, shake(tls, stream, address, &place));
            let shaken = tokio::select! {
                shaken = shaking => shaken.unwrap_or_else(|elapsed| Err(elapsed.into())),
                () = place.closed() => Err(io::ErrorKind::ConnectionReset.into()),
            };
            match shaken {
                Ok((channel, peer)) => Ok(Connection::new(channel, peer, place)),
                Err(error) => Err((address, error)),
            }
        });
    }

    /// The next connection that is through; pending when none is under way.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Connection> {
        loop {
            match ready!(self.running.poll_join_next(cx)) {
                Some(Ok(Ok(connection))) => return Poll::Ready(connection),
                Some(Ok(Err((address, error)))) => self.report(address, &error),
                // The runtime stops; a panic ends the process.
                Some(Err(_)) => {}
                // `start` is called by the task that polls, which polls again then.
                None => return Poll::Pending,
            }
        }
    }

    fn report(&mut self, address: PeerAddress, error: &io::Error) {
        debug!(?address, %error, "a TLS handshake failed");
        // Probes of load balancers connect and leave.
        let is_leaving = matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
        );
        let is_due = self
            .warned
            .is_none_or(|warned| warned.elapsed() >= WARNING_INTERVAL);
        if is_due && !is_leaving {
            self.warned = Some(Instant::now());
            warn!(?address, %error, "a client could not connect with TLS");
        }
    }
}

/// Holds a request without a body.
const READ_BYTES: usize = 4096;

async fn shake(
    tls: Arc<ServerTls>,
    mut stream: Plain,
    address: PeerAddress,
    place: &Place,
) -> io::Result<(Channel, Peer)> {
    if !begins_handshake(&stream).await? {
        // What is left unread would reset the connection, and with it the answer.
        let _ = stream.read(&mut [0; READ_BYTES]).await?;
        stream.write_all(NOT_TLS).await?;
        let error = "the client speaks without TLS";
        return Err(io::Error::new(io::ErrorKind::InvalidData, error));
    }
    let accepted = tls.accept(stream).await?;
    let peer = Peer::new(address, place).with_tls(accepted.common_name);
    Ok((Channel::Tls(Box::new(accepted.stream)), peer))
}

/// Looks at the first byte without taking it.
async fn begins_handshake(stream: &Plain) -> io::Result<bool> {
    let Plain::Tcp(stream) = stream else {
        // OpenSSL finds out.
        return Ok(true);
    };
    let mut first = [0];
    match stream.peek(&mut first).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(first[0] == HANDSHAKE_RECORD),
    }
}
