//! A client's connection, in clear or with TLS.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    sync::OwnedSemaphorePermit,
    time::{Sleep, sleep},
};
use tokio_openssl::SslStream;
use tonic::transport::server::Connected;

use super::authority::AuthorityMask;

/// The timeout for the first bytes of a client, which tell its version of HTTP. All clients speak
/// first, and at once; from then on HTTP/1.1 has hyper's limit, which is 30 s as well, and HTTP/2
/// its pings.
pub(super) const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(30);

/// Gives its slot back when it closes.
pub struct Connection {
    channel: Channel,
    peer: Peer,
    authority: AuthorityMask,
    /// The timer of [`FIRST_BYTES_TIMEOUT`], until the client has begun.
    deadline: Option<Pin<Box<Sleep>>>,
    _slot: Option<OwnedSemaphorePermit>,
}

pub(super) enum Channel {
    Plain(Plain),
    Tls(Box<SslStream<Plain>>),
}

pub(super) enum Plain {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The other end of a connection. In the extensions of every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub address: PeerAddress,
    pub(super) common_name: Option<Arc<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerAddress {
    Tcp(SocketAddr),
    Unix,
}

impl Peer {
    pub fn forget_common_name(&mut self) {
        self.common_name = None;
    }

    /// Returns the name in the client's certificate, if one was asked for (`--client-cert-auth`)
    /// and has a name.
    pub fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
    }
}

impl Connection {
    pub(super) fn new(channel: Channel, peer: Peer, slot: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            channel,
            peer,
            authority: AuthorityMask::default(),
            deadline: Some(Box::pin(sleep(FIRST_BYTES_TIMEOUT))),
            _slot: slot,
        }
    }

    #[cfg(test)]
    pub(super) fn is_without_delay(&self) -> bool {
        matches!(&self.channel, Channel::Plain(Plain::Tcp(stream)) if stream.nodelay().unwrap())
    }

    /// An error when the client let us wait for too long.
    fn poll_timeout(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.deadline {
            Some(deadline) => deadline
                .as_mut()
                .poll(cx)
                .map(|()| Err(io::ErrorKind::TimedOut.into())),
            None => Poll::Pending,
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.channel).poll_read(cx, buffer);
        self.authority.apply(&mut buffer.filled_mut()[before..]);
        if self.deadline.is_some() {
            if self.authority.knows_protocol() {
                self.deadline = None;
            } else if read.is_pending() {
                return self.poll_timeout(cx);
            }
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.channel).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.channel).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.channel.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.channel).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.channel).poll_shutdown(cx)
    }
}

/// Makes an enum of streams a stream.
macro_rules! forward {
    ($of:ident: $($variant:ident),*) => {
        impl AsyncRead for $of {
            #[inline]
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $($of::$variant(stream) => Pin::new(stream).poll_read(cx, buffer),)*
                }
            }
        }

        impl AsyncWrite for $of {
            #[inline]
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $($of::$variant(stream) => Pin::new(stream).poll_write(cx, bytes),)*
                }
            }

            #[inline]
            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                slices: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $($of::$variant(stream) => Pin::new(stream).poll_write_vectored(cx, slices),)*
                }
            }

            fn is_write_vectored(&self) -> bool {
                match self {
                    $($of::$variant(stream) => stream.is_write_vectored(),)*
                }
            }

            #[inline]
            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $($of::$variant(stream) => Pin::new(stream).poll_flush(cx),)*
                }
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $($of::$variant(stream) => Pin::new(stream).poll_shutdown(cx),)*
                }
            }
        }
    };
}

forward!(Plain: Tcp, Unix);
forward!(Channel: Plain, Tls);
