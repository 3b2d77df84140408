//! Messages to the service manager: `sd_notify(3)`.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram as StdDatagram},
        },
    },
    sync::Once,
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::{net::UnixDatagram, time::timeout};
use tracing::{debug, warn};

/// The longest wait for a service manager whose socket is full.
const TELL_TIMEOUT: Duration = Duration::from_secs(1);

/// Returns whether a service manager listens to this process.
pub fn is_listening() -> bool {
    env::var_os("NOTIFY_SOCKET").is_some()
}

/// Tells that the process serves, after a start or a reload.
pub async fn ready() {
    send(&[NotifyState::Ready]).await;
}

/// Tells that the process reads its settings again; [`ready`] ends that.
pub async fn reloading() {
    let mut states = vec![NotifyState::Reloading];
    // By which systemd knows the reload that it has asked for. The clock cannot fail where systemd runs.
    states.extend(NotifyState::monotonic_usec_now());
    send(&states).await;
}

/// Tells that the process has begun to stop.
pub async fn stopping() {
    send(&[NotifyState::Stopping, NotifyState::Status("stopping")]).await;
}

/// Shows a line to people, in `systemctl status`, until the next one.
pub async fn status(line: &str) {
    // A second line would be another assignment.
    send(&[NotifyState::Status(&line.replace('\n', " "))]).await;
}

pub(super) async fn send(states: &[NotifyState<'_>]) {
    static WARNED: Once = Once::new();
    let Some(name) = env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let lines: String = states.iter().map(|state| format!("{state}\n")).collect();
    if let Err(error) = tell(&name, &lines).await {
        WARNED.call_once(|| {
            warn!(
                "the service manager at NOTIFY_SOCKET={} cannot be told: {error}. It may wait for what it was not told, \
                 as systemd does with Type=notify",
                name.display()
            );
        });
        debug!(%error, lines, "the service manager was not told");
    }
}

/// Sends one message by a socket of its own, so that a service manager which binds its name again is found. No thread waits: a
/// message that cannot be sent in time is dropped.
async fn tell(name: &OsStr, lines: &str) -> io::Result<()> {
    let socket = StdDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address(name)?)?;
    let socket = UnixDatagram::from_std(socket)?;
    // A datagram is sent as a whole.
    let sent = timeout(TELL_TIMEOUT, socket.send(lines.as_bytes())).await;
    sent.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "it reads nothing"))?
        .map(drop)
}

/// Returns the address that the name means: a path, or after `@` a name that no file has.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "it is neither a path nor @ with a name",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_path_and_an_abstract_name_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let abstract_name = format!("service-manager-{}", std::process::id());
        let listening = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        for (name, listener) in [
            (path.clone().into_os_string(), StdDatagram::bind(&path)),
            (
                format!("@{abstract_name}").into(),
                StdDatagram::bind_addr(&listening),
            ),
        ] {
            let listener = listener.unwrap();
            tell(&name, "READY=1\n").await.unwrap();
            let mut bytes = [0; 64];
            let length = listener.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..length], b"READY=1\n");
        }
        let refused = tell(OsStr::new("vsock:2:1"), "READY=1\n").await;
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::Unsupported);
    }

    #[tokio::test]
    async fn one_that_reads_nothing_is_waited_for_up_to_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let listener = StdDatagram::bind(&path).unwrap();
        let filling = StdDatagram::unbound().unwrap();
        filling.set_nonblocking(true).unwrap();
        while filling.send_to(b"full", &path).is_ok() {}
        let unheard = tell(path.as_os_str(), "READY=1\n").await;
        assert_eq!(unheard.unwrap_err().kind(), io::ErrorKind::TimedOut);

        // One that reads meanwhile hears it.
        let reading = async {
            tokio::task::yield_now().await;
            let mut bytes = [0; 64];
            while &bytes[..8] != b"READY=1\n" {
                listener.recv(&mut bytes).unwrap();
                listener.set_nonblocking(true).unwrap();
                tokio::task::yield_now().await;
            }
        };
        let (told, ()) = tokio::join!(tell(path.as_os_str(), "READY=1\n"), reading);
        told.unwrap();
    }
}
