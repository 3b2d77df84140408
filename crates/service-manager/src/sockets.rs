//! Listening sockets that the service manager has opened: `sd_listen_fds(3)`.

use std::{
    env, io,
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    path::Path,
    process,
};

use listenfd::ListenFd;
use nix::sys::socket::{getsockopt, sockopt};

/// A socket that was passed.
#[derive(Debug)]
pub enum Passed {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The sockets that were passed and that nobody has taken yet.
#[derive(Debug, Default)]
pub struct Sockets(Vec<Passed>);

impl Sockets {
    /// Takes the sockets that were passed to this process: once, and while it has one thread, since variables of the environment are
    /// removed.
    ///
    /// # Errors
    ///
    /// One of them is no stream socket that listens, or has no address that can be named.
    pub fn from_environment() -> io::Result<Self> {
        // Those of another process are inherited by mistake; their numbers are other files here.
        let own = process::id().to_string();
        if env::var_os("LISTEN_PID").is_none_or(|process| process != own.as_str()) {
            return Ok(Self::default());
        }
        if env::var_os("LISTEN_FDS_FIRST_FD").is_some() {
            return Err(io::Error::other(
                "LISTEN_FDS_FIRST_FD is set, which systemd does not know: they begin with file 3",
            ));
        }
        let mut from = ListenFd::from_env();
        let sockets = (0..from.len()).map(|index| take(&mut from, index));
        sockets.collect::<io::Result<_>>().map(Self)
    }

    /// Takes the socket that listens at one of the addresses.
    pub fn take_tcp(&mut self, addresses: &[SocketAddr]) -> Option<TcpListener> {
        let index = self.0.iter().position(|passed| match passed {
            Passed::Tcp(socket) => {
                let at = socket.local_addr();
                at.is_ok_and(|at| addresses.contains(&at))
            }
            Passed::Unix(_) => false,
        })?;
        match self.0.swap_remove(index) {
            Passed::Tcp(socket) => Some(socket),
            Passed::Unix(_) => None,
        }
    }

    /// Takes the socket that listens at the path.
    pub fn take_unix(&mut self, path: &Path) -> Option<UnixListener> {
        let index = self.0.iter().position(|passed| match passed {
            Passed::Unix(socket) => {
                let at = socket.local_addr();
                at.is_ok_and(|at| at.as_pathname() == Some(path))
            }
            Passed::Tcp(_) => false,
        })?;
        match self.0.swap_remove(index) {
            Passed::Unix(socket) => Some(socket),
            Passed::Tcp(_) => None,
        }
    }

    /// Returns the address of a socket that nobody has taken.
    pub fn left(&self) -> Option<String> {
        self.0.first().map(|passed| match passed {
            Passed::Tcp(socket) => match socket.local_addr() {
                Ok(address) => format!("tcp://{address}"),
                Err(error) => error.to_string(),
            },
            Passed::Unix(socket) => {
                let address = socket.local_addr().ok();
                let path = address.as_ref().and_then(|at| at.as_pathname());
                format!("unix://{}", path.unwrap_or(Path::new("")).display())
            }
        })
    }
}

fn take(from: &mut ListenFd, index: usize) -> io::Result<Passed> {
    let passed = match from.take_tcp_listener(index) {
        Ok(Some(socket)) => Passed::Tcp(socket),
        _ => match from.take_unix_listener(index)? {
            Some(socket) => Passed::Unix(socket),
            None => return Err(io::Error::other("a socket is missing")),
        },
    };
    let is_listening = match &passed {
        Passed::Tcp(socket) => getsockopt(socket, sockopt::AcceptConn)?,
        Passed::Unix(socket) => getsockopt(socket, sockopt::AcceptConn)?,
    };
    if !is_listening {
        // Of a socket unit with Accept=yes.
        return Err(io::Error::other(
            "it does not listen, but is one connection",
        ));
    }
    match &passed {
        Passed::Unix(socket) if socket.local_addr()?.as_pathname().is_none() => {
            Err(io::Error::other(
                "it is an abstract unix socket, and --listen names paths: give the socket unit a path",
            ))
        }
        _ => Ok(passed),
    }
}
