//! A client's connection, in clear or with TLS.

use std::{
    io::{self, IoSlice},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use places::{Call, Calls, Place};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    time::{Sleep, sleep},
};
use tokio_openssl::SslStream;
use tonic::transport::server::Connected;

use super::authority::AuthorityMask;

/// The timeout for the first bytes of a client, which tell its version of HTTP. All clients speak
/// first, and at once; from then on HTTP/1.1 has hyper's limit, which is 30 s as well, and HTTP/2
/// its pings.
pub(super) const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(30);

/// Gives its place back when it closes, and closes when others need it.
pub struct Connection {
    channel: Channel,
    peer: Peer,
    authority: AuthorityMask,
    /// The timer of [`FIRST_BYTES_TIMEOUT`], until the client has begun.
    deadline: Option<Pin<Box<Sleep>>>,
    place: Place,
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
#[derive(Debug, Clone)]
pub struct Peer {
    pub address: PeerAddress,
    is_tls: bool,
    common_name: Option<Arc<str>>,
    calls: Calls,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerAddress {
    Tcp(SocketAddr),
    Unix,
}

impl PeerAddress {
    /// Returns the address of a client in the network.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            PeerAddress::Tcp(address) => Some(address.ip()),
            PeerAddress::Unix => None,
        }
    }
}

impl Peer {
    /// Returns one that speaks without TLS.
    pub(super) fn new(address: PeerAddress, place: &Place) -> Self {
        let calls = place.calls();
        Self {
            address,
            is_tls: false,
            common_name: None,
            calls,
        }
    }

    pub(super) fn with_tls(self, common_name: Option<Arc<str>>) -> Self {
        Self {
            is_tls: true,
            common_name,
            ..self
        }
    }

    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Begins a call on its connection, which is not idle until this ends.
    pub fn begin_call(&self) -> Call {
        self.calls.begin()
    }

    /// Returns the calls of its connection.
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

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
    pub(super) fn new(channel: Channel, peer: Peer, place: Place) -> Self {
        Self {
            channel,
            peer,
            authority: AuthorityMask::default(),
            deadline: Some(Box::pin(sleep(FIRST_BYTES_TIMEOUT))),
            place,
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
        if self.place.poll_closed(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
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
        // Who does not read what it is sent may not be read from, either.
        if self.place.poll_closed(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
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
