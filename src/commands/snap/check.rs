//! Checks settings against this machine, before anything is written.

use std::{
    net::{IpAddr, UdpSocket},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use dqlite::proxy::BoundPort;

use super::{HookError, settings::Settings};
use crate::{
    address::{ListenSocket, NodeAddress},
    args::ListenAddresses,
};

/// The longest path that the address of a socket has room for, in bytes (unix(7)).
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// Fails unless the node and its services can have these addresses here. `moves_to`: the address that the node gets.
pub async fn run(settings: &Settings, moves_to: Option<&NodeAddress>) -> Result<(), HookError> {
    let mut wrong = Vec::new();
    if let Some(address) = moves_to
        && let Err(error) = BoundPort::bind(address.as_str()).await
    {
        wrong.push(format!("address: {error}"));
    }
    let listen = settings.listen.iter().map(|text| ("listen", text.parse()));
    // Metrics are served at `HOST:PORT`.
    let metrics = settings.metrics.iter();
    let metrics = metrics.map(|text| ("metrics", format!("tcp://{text}").parse()));
    for (key, parsed) in listen.chain(metrics) {
        let Ok(ListenAddresses(addresses)) = parsed else {
            continue;
        };
        let sockets = addresses
            .iter()
            .map(|address| check_socket(&address.socket));
        wrong.extend(sockets.filter_map(|checked| Some(format!("{key}: {}", checked.err()?))));
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(HookError::Settings(wrong)),
    }
}

/// The port may be that of the server which runs.
pub fn check_socket(socket: &ListenSocket) -> Result<(), String> {
    match socket {
        ListenSocket::Tcp { host, .. } => match host.parse::<IpAddr>() {
            // Nothing is sent.
            Ok(ip) if UdpSocket::bind((ip, 0)).is_err() => {
                Err(format!("this machine does not have the address {ip}"))
            }
            _ => Ok(()),
        },
        ListenSocket::Unix(path) => check_path(path),
    }
}

fn check_path(path: &Path) -> Result<(), String> {
    let bytes = path.as_os_str().as_bytes().len();
    if bytes > MAX_SOCKET_PATH_BYTES {
        return Err(format!(
            "the path of a socket has at most {MAX_SOCKET_PATH_BYTES} bytes, and this one has {bytes}"
        ));
    }
    match path.parent() {
        Some(dir) if dir != Path::new("") && !dir.is_dir() => {
            Err(format!("there is no directory {}", dir.display()))
        }
        _ => Ok(()),
    }
}
