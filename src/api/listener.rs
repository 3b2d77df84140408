//! The listeners of the etcd API: TCP ports and unix sockets, and the connections that arrive
//! there.
//!
//! A socket file is readable for its owner only from the moment it exists, and is removed when the listener
//! goes, unless somebody else has put another in its place.

mod authority;
mod connection;
mod handshakes;
mod incoming;
mod unix;

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    os::fd::AsFd,
    path::PathBuf,
    sync::Arc,
};

use nix::sys::socket::{setsockopt, sockopt};
use service_manager::Sockets;
use tokio::net::{TcpListener, TcpSocket, lookup_host};

use self::unix::SocketFile;
pub use self::{
    connection::{Connection, Peer, PeerAddress},
    incoming::Incoming,
};
use crate::{
    address::{ListenAddress, ListenSocket},
    tls::ServerTls,
};

/// Connections that the kernel accepts for us while we are busy; it lowers this to its own limit.
const BACKLOG: u32 = 1024;

/// Seconds without traffic after which the kernel probes whether the client is there, and seconds
/// between two of its 9 probes: etcd's and Go's numbers.
const KEEP_ALIVE_IDLE_S: u32 = 30;
const KEEP_ALIVE_INTERVAL_S: u32 = 30;

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(
        "{address} is in use by another program: stop that ({hint} shows it), or choose another address \
         with --listen"
    )]
    InUse {
        address: ListenAddress,
        hint: String,
    },

    #[error("cannot listen on {address}: {source}{}", hint(source))]
    Unusable {
        address: ListenAddress,
        source: io::Error,
    },

    #[error("cannot listen on {address}: {} is not a socket; move it away", path.display())]
    NotASocket {
        address: ListenAddress,
        path: PathBuf,
    },

    #[error("a socket that the service manager passes cannot be used: {0}")]
    Passed(#[source] io::Error),

    #[error(
        "the service manager passes a socket at {0}, which no --listen names: add --listen={0}, or remove it from the socket unit"
    )]
    Unnamed(String),
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrNotAvailable => "; no network interface has this address",
        ErrorKind::PermissionDenied => "; run as root, or choose another address with --listen",
        ErrorKind::NotFound => "; the directory does not exist",
        _ => "",
    }
}

/// Listens from the moment it is made; accepts nothing until [`Incoming`] is polled.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: ListenAddress,
    tls: Option<Arc<ServerTls>>,
}

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(SocketFile),
}

impl Listener {
    /// The address is one with TLS if `tls` is given.
    pub async fn bind(
        address: &ListenAddress,
        tls: Option<Arc<ServerTls>>,
    ) -> Result<Self, ListenError> {
        Self::take_or_bind(address, tls, &mut Sockets::default()).await
    }

    async fn take_or_bind(
        address: &ListenAddress,
        tls: Option<Arc<ServerTls>>,
        passed: &mut Sockets,
    ) -> Result<Self, ListenError> {
        match &address.socket {
            ListenSocket::Tcp { host, port } => {
                let explain = |error| explain(address, format!("ss -ltnp sport = :{port}"), error);
                let candidates = candidates(host, *port).await.map_err(explain)?;
                let (listener, bound) = match passed.take_tcp(&candidates) {
                    Some(socket) => take_tcp(socket).map_err(ListenError::Passed)?,
                    None => bind_tcp(&candidates).map_err(explain)?,
                };
                let socket = ListenSocket::Tcp {
                    host: host.clone(),
                    port: bound.port(),
                };
                let is_tls = address.is_tls;
                Ok(Self {
                    socket: Socket::Tcp(listener),
                    address: ListenAddress { is_tls, socket },
                    tls,
                })
            }
            ListenSocket::Unix(path) => {
                let socket = match passed.take_unix(path) {
                    Some(socket) => SocketFile::passed(socket).map_err(ListenError::Passed)?,
                    None => unix::bind(address, path).await?,
                };
                Ok(Self {
                    socket: Socket::Unix(socket),
                    address: address.clone(),
                    tls,
                })
            }
        }
    }

    /// Binds all addresses, or none. Those with TLS speak it as `tls` says. A socket that the service manager has passed takes the
    /// place of one that would be bound, and has to be at one of the addresses.
    pub async fn bind_all(
        addresses: &[ListenAddress],
        tls: Option<&Arc<ServerTls>>,
        mut passed: Sockets,
    ) -> Result<Vec<Self>, ListenError> {
        let mut listeners = Vec::with_capacity(addresses.len());
        for address in addresses {
            let tls = tls.filter(|_| address.is_tls).cloned();
            listeners.push(Self::take_or_bind(address, tls, &mut passed).await?);
        }
        match passed.left() {
            Some(address) => Err(ListenError::Unnamed(address)),
            None => Ok(listeners),
        }
    }

    /// Returns the address, with the port that the kernel chose where 0 was asked for.
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }
}

fn explain(address: &ListenAddress, hint: String, source: io::Error) -> ListenError {
    let address = address.clone();
    match source.kind() {
        ErrorKind::AddrInUse => ListenError::InUse { address, hint },
        _ => ListenError::Unusable { address, source },
    }
}

/// Returns the addresses of which the first that can be bound is the one: of all interfaces without a host; the first IPv4 address
/// of a name, if it has one, as in Go.
async fn candidates(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if host.is_empty() {
        return Ok(vec![
            SocketAddr::from(([0_u16; 8], port)),
            SocketAddr::from(([0, 0, 0, 0], port)),
        ]);
    }
    let mut found: Vec<SocketAddr> = lookup_host((host, port)).await?.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    found.truncate(1);
    Ok(found)
}

fn bind_tcp(candidates: &[SocketAddr]) -> io::Result<(TcpListener, SocketAddr)> {
    let mut last_error = io::Error::other("the name has no address");
    for candidate in candidates {
        match listen_tcp(*candidate) {
            Ok(listener) => {
                let address = listener.local_addr()?;
                return Ok((listener, address));
            }
            Err(error) => last_error = error,
        }
        // Without IPv6 in the kernel, IPv4 is all there is.
        if last_error.raw_os_error() != Some(libc::EAFNOSUPPORT) {
            break;
        }
    }
    Err(last_error)
}

/// Makes a socket that was passed like one that is bound here.
fn take_tcp(socket: std::net::TcpListener) -> io::Result<(TcpListener, SocketAddr)> {
    socket.set_nonblocking(true)?;
    keep_alive(&socket)?;
    let listener = TcpListener::from_std(socket)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn listen_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    // Connections of the process before us, in TIME_WAIT, must not keep us out.
    socket.set_reuseaddr(true)?;
    keep_alive(&socket)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Turns on keep-alives, which notice clients that vanished. Accepted connections inherit this from the listening
/// socket.
fn keep_alive(socket: &impl AsFd) -> io::Result<()> {
    setsockopt(socket, sockopt::KeepAlive, &true)?;
    setsockopt(socket, sockopt::TcpKeepIdle, &KEEP_ALIVE_IDLE_S)?;
    setsockopt(socket, sockopt::TcpKeepInterval, &KEEP_ALIVE_INTERVAL_S)?;
    Ok(())
}

#[cfg(test)]
mod tests;
