//! A unix socket in the file system.

use std::{
    fs, io,
    io::ErrorKind,
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::stat::{Mode, fchmod};
use tokio::{
    net::{UnixListener, UnixSocket, UnixStream},
    time::timeout,
};

use super::{BACKLOG, ListenError, explain};
use crate::address::ListenAddress;

/// The timeout of a connection to a socket file. A listener answers at once, or its queue is full, which shows that it
/// runs.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest path that fits into `sockaddr_un`, without the NUL byte at the end.
const PATH_BYTES_MAX: usize = 107;

#[derive(Debug)]
pub(in crate::api) struct SocketFile {
    pub listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file. `None`: it is not ours to remove.
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    /// Takes a socket whose file belongs to the service manager.
    pub(super) fn passed(socket: std::os::unix::net::UnixListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            listener: UnixListener::from_std(socket)?,
            path: PathBuf::new(),
            identity: None,
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && self.identity == identity(&self.path) {
            // Nobody is left to tell, and the next start removes it, too.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

pub(super) async fn bind(address: &ListenAddress, path: &Path) -> Result<SocketFile, ListenError> {
    let unusable = |source| explain(address, hint(path), source);
    let length = path.as_os_str().len();
    if length > PATH_BYTES_MAX {
        let message = format!("its path has {length} bytes, and {PATH_BYTES_MAX} are possible");
        return Err(unusable(io::Error::new(ErrorKind::InvalidInput, message)));
    }
    remove_abandoned(address, path).await?;
    let listener = listen(path).map_err(unusable)?;
    Ok(SocketFile {
        listener,
        path: path.to_owned(),
        identity: identity(path),
    })
}

fn hint(path: &Path) -> String {
    format!("ss -lxp src {}", path.display())
}

/// Removes a socket that nobody listens on.
async fn remove_abandoned(address: &ListenAddress, path: &Path) -> Result<(), ListenError> {
    let unusable = |source| explain(address, hint(path), source);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unusable(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            let (address, path) = (address.clone(), path.to_owned());
            return Err(ListenError::NotASocket { address, path });
        }
        Ok(_) => {}
    }
    match timeout(PROBE_TIMEOUT, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(unusable)
        }
        // It went away by itself.
        Ok(Err(error)) if error.kind() == ErrorKind::NotFound => Ok(()),
        Ok(Err(error)) if error.kind() == ErrorKind::PermissionDenied => Err(unusable(error)),
        _ => Err(ListenError::InUse {
            address: address.clone(),
            hint: hint(path),
        }),
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = UnixSocket::new_stream()?;
    // The file that bind makes takes its mode from the socket (Linux: net/unix/af_unix.c), so that at no
    // time anybody else may connect.
    fchmod(socket.as_fd(), Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket.bind(path)?;
    socket.listen(BACKLOG)
}
