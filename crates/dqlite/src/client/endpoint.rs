//! The endpoint at which a node listens, and the socket to it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_openssl::SslStream;

use super::{engine_socket::EngineSocket, upgrade::upgrade};
use crate::cluster_id::{self, ClusterId};
use crate::socket::{connect, host};
use crate::tls::Tls;

/// The timeout for a connection, TLS handshake included. go-dqlite uses the same.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The timeout for a reply. A write that lost its quorum is answered after two election timeouts, 6
/// s with dqlite's defaults.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Send buffer of a unix socket, in bytes: a full batch goes out in one write, where the default of
/// 208 KiB makes client and engine wake each other up in turns.
const SEND_BUFFER_BYTES: usize = 1024 * 1024;

/// The place where a node listens.
#[derive(Clone)]
pub enum Endpoint {
    /// A socket in the abstract namespace, by its name without the `@`. Only the node's own process
    /// may use it.
    Abstract(String),
    /// A socket in the file system.
    Unix(PathBuf),
    /// `host:port`, in clear.
    Tcp(String),
    /// `host:port`, with the cluster's key pair.
    Tls { address: String, tls: Tls },
    /// `host:port`, with TLS, where a path of an HTTP server leads to the node, as in microcluster.
    Upgraded {
        address: String,
        path: String,
        tls: Tls,
    },
    /// Another node of a cluster, to which this one introduces itself.
    Peer {
        endpoint: Box<Endpoint>,
        cluster: ClusterId,
    },
}

impl Endpoint {
    /// The endpoint of an address as libdqlite writes it: `@name` or `host:port`.
    pub fn from_address(address: &str) -> Endpoint {
        match address.strip_prefix('@') {
            Some(name) => Endpoint::Abstract(name.to_owned()),
            None => Endpoint::Tcp(address.to_owned()),
        }
    }

    pub(crate) async fn connect(&self) -> io::Result<Stream> {
        Ok(match self {
            Endpoint::Abstract(name) => {
                let path = OsString::from_vec([b"\0", name.as_bytes()].concat());
                Stream::Engine(EngineSocket::new(connect_unix(&path).await?)?)
            }
            Endpoint::Unix(path) => Stream::Unix(connect_unix(path.as_os_str()).await?),
            Endpoint::Tcp(address) => Stream::Tcp(connect(address).await?),
            Endpoint::Tls { address, tls } => {
                let stream = connect(address).await?;
                Stream::Tls(tls.connect(host(address), stream).await?)
            }
            Endpoint::Upgraded { address, path, tls } => {
                let stream = connect(address).await?;
                let mut stream = tls.connect(host(address), stream).await?;
                upgrade(&mut stream, address, path).await?;
                Stream::Tls(stream)
            }
            Endpoint::Peer { endpoint, cluster } => {
                let mut stream = Box::pin(endpoint.connect()).await?;
                let address = endpoint.to_string();
                match cluster.introduce(&mut stream, &address).await? {
                    true => stream,
                    false => Box::pin(endpoint.connect()).await?,
                }
            }
        })
    }

    /// The history of the node there; none if it knows of none, or is of an older version.
    pub async fn cluster_id(&self) -> io::Result<Option<u64>> {
        let asking = async { cluster_id::ask(&mut self.connect().await?).await };
        let asked = tokio::time::timeout(CONNECT_TIMEOUT, asking).await;
        asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

async fn connect_unix(path: &OsStr) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(path).await?;
    // Without the privilege to pass the system's limit the default has to do.
    let _ = setsockopt(&stream, sockopt::SndBufForce, &SEND_BUFFER_BYTES);
    Ok(stream)
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Abstract(name) => write!(f, "@{name}"),
            Endpoint::Unix(path) => write!(f, "{}", path.display()),
            Endpoint::Tcp(address)
            | Endpoint::Tls { address, .. }
            | Endpoint::Upgraded { address, .. } => f.write_str(address),
            Endpoint::Peer { endpoint, .. } => endpoint.fmt(f),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The limits of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectOptions {
    pub connect_timeout: Duration,
    /// The deadline of each request; a result of several parts has it for each part.
    pub request_timeout: Duration,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        ConnectOptions {
            connect_timeout: CONNECT_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
        }
    }
}

#[derive(Debug)]
pub(crate) enum Stream {
    Engine(EngineSocket),
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(SslStream<TcpStream>),
}

macro_rules! on_stream {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Engine($stream) => $call,
            Stream::Unix($stream) => $call,
            Stream::Tcp($stream) => $call,
            Stream::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on_stream!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
