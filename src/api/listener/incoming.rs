//! The connections that arrive: as many as there is room for.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};
use tokio_stream::Stream;
use tonic::transport::server::Connected;
use tracing::{debug, warn};

use super::{Socket, authority::AuthorityMask};

/// Connections at a time; further ones wait in the kernel's queue until one closes. A cluster has some tens of
/// clients with a few connections each; at some 100 KiB per idle connection this bounds the memory to 400 MiB.
pub const MAX_CONNECTIONS: usize = 4096;

/// Waited after an error that will not pass by itself, such as no free file descriptors: doubles from
/// the first to the last.
const BACK_OFF_MIN: Duration = Duration::from_millis(5);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

type Acquire = Pin<Box<dyn Future<Output = OwnedSemaphorePermit> + Send>>;

pub struct Incoming {
    socket: Socket,
    slots: Arc<Semaphore>,
    acquiring: Acquire,
    /// Room for the next connection.
    slot: Option<OwnedSemaphorePermit>,
    back_off: Duration,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Incoming {
    pub(super) fn new(socket: Socket, max_connections: usize) -> Self {
        let slots = Arc::new(Semaphore::new(max_connections));
        let acquiring = acquire(&slots);
        Self {
            socket,
            slots,
            acquiring,
            slot: None,
            back_off: BACK_OFF_MIN,
            pause: None,
        }
    }

    fn poll_slot(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.slot.is_none() {
            self.slot = Some(ready!(self.acquiring.as_mut().poll(cx)));
            self.acquiring = acquire(&self.slots);
        }
        Poll::Ready(())
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Channel, Peer)>> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, address) = ready!(listener.poll_accept(cx))?;
                // Small answers must not wait for the client's delayed acknowledgement.
                stream.set_nodelay(true)?;
                Poll::Ready(Ok((Channel::Tcp(stream), Peer::Tcp(address))))
            }
            Socket::Unix(socket) => {
                let (stream, _) = ready!(socket.listener.poll_accept(cx))?;
                Poll::Ready(Ok((Channel::Unix(stream), Peer::Unix)))
            }
        }
    }

    pub(super) fn pause(&mut self, error: &io::Error) {
        warn!(%error, wait = ?self.back_off, "cannot accept connections");
        self.pause = Some(Box::pin(sleep(self.back_off)));
        self.back_off = (self.back_off * 2).min(BACK_OFF_MAX);
    }
}

fn acquire(slots: &Arc<Semaphore>) -> Acquire {
    let slots = slots.clone();
    Box::pin(async move { slots.acquire_owned().await.expect("never closed") })
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            ready!(self.poll_slot(cx));
            match ready!(self.poll_accept(cx)) {
                Ok((channel, peer)) => {
                    self.back_off = BACK_OFF_MIN;
                    let slot = self.slot.take();
                    return Poll::Ready(Some(Ok(Connection {
                        channel,
                        peer,
                        authority: AuthorityMask::default(),
                        _slot: slot,
                    })));
                }
                Err(error) if is_of_one_connection(&error) => debug!(%error, "a client left early"),
                Err(error) => self.pause(&error),
            }
        }
    }
}

/// Whether the error says nothing about the next connection.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, InvalidInput, NotConnected};
    // Invalid input is what setting an option of a connection gives that is gone.
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | InvalidInput | NotConnected
    )
}

/// A client's connection, which gives its slot back when it closes.
pub struct Connection {
    channel: Channel,
    peer: Peer,
    authority: AuthorityMask,
    _slot: Option<OwnedSemaphorePermit>,
}

enum Channel {
    Tcp(TcpStream),
    Unix(UnixStream),
}

#[cfg(test)]
impl Connection {
    pub(super) fn is_without_delay(&self) -> bool {
        matches!(&self.channel, Channel::Tcp(stream) if stream.nodelay().unwrap())
    }
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Tcp(SocketAddr),
    Unix,
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = match &mut self.channel {
            Channel::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Channel::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        };
        self.authority.apply(&mut buffer.filled_mut()[before..]);
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.channel {
            Channel::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Channel::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.channel {
            Channel::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Channel::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.channel {
            Channel::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Channel::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.channel {
            Channel::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Channel::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
