//! The address of the port, which is taken before anything else is done.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, lookup_host};

/// Connections that wait to be accepted. The kernel may allow fewer.
const BACKLOG: u32 = 1024;

/// The reason why this process cannot listen on an address.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    #[error("cannot listen on {address}: the port is in use by another process")]
    Occupied { address: String },
    #[error("cannot listen on {address}: this machine does not have the address")]
    Elsewhere { address: String },
    #[error("cannot listen on {address}: the name is not known: {source}")]
    Unknown { address: String, source: io::Error },
    #[error("cannot listen on {address}: {source}")]
    Bind { address: String, source: io::Error },
}

impl PortError {
    fn new(address: &str, source: io::Error) -> Self {
        let address = address.to_owned();
        match source.kind() {
            io::ErrorKind::AddrInUse => PortError::Occupied { address },
            io::ErrorKind::AddrNotAvailable => PortError::Elsewhere { address },
            _ => PortError::Bind { address, source },
        }
    }
}

/// A port that is this process's. Connections are refused until it listens.
#[derive(Debug)]
pub struct BoundPort {
    socket: TcpSocket,
    address: String,
}

impl BoundPort {
    /// Takes the first of the addresses that `host:port` stands for and this machine has.
    pub async fn bind(address: &str) -> Result<BoundPort, PortError> {
        let unknown = |source| PortError::Unknown {
            address: address.to_owned(),
            source,
        };
        let mut last = io::ErrorKind::NotFound.into();
        for resolved in lookup_host(address).await.map_err(unknown)? {
            match bind(resolved) {
                Ok(socket) => {
                    return Ok(BoundPort {
                        socket,
                        address: address.to_owned(),
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(PortError::new(address, last))
    }

    pub(super) fn listen(self) -> Result<TcpListener, PortError> {
        let BoundPort { socket, address } = self;
        socket
            .listen(BACKLOG)
            .map_err(|source| PortError::new(&address, source))
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // Connections of the process before may still end.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}
