//! Messages to the service manager: `sd_notify(3)`.

use std::{env, io, time::Duration};

use sd_notify::NotifyState;
use tokio::{task::spawn_blocking, time::timeout};
use tracing::debug;

/// The longest wait for a service manager whose socket is full.
const TELL_TIMEOUT: Duration = Duration::from_secs(1);

/// Returns whether a service manager listens to this process.
pub fn is_listening() -> bool {
    env::var_os("NOTIFY_SOCKET").is_some()
}

/// Tells that the process serves, after a start or a reload.
pub async fn ready() {
    send(vec![NotifyState::Ready]).await;
}

/// Tells that the process reads its settings again; [`ready`] ends that.
pub async fn reloading() {
    let mut states = vec![NotifyState::Reloading];
    // By which systemd knows the reload that it has asked for. The clock cannot fail where systemd runs.
    states.extend(NotifyState::monotonic_usec_now());
    send(states).await;
}

/// Tells that the process has begun to stop.
pub async fn stopping() {
    send(vec![NotifyState::Stopping, NotifyState::Status("stopping")]).await;
}

/// Shows a line to people, in `systemctl status`, until the next one.
pub async fn status(line: &str) {
    // A second line would be another assignment.
    let line = format!("STATUS={}", line.replace('\n', " "));
    tell(move || sd_notify::notify(&[NotifyState::Custom(&line)])).await;
}

pub(super) async fn send(states: Vec<NotifyState<'static>>) {
    tell(move || sd_notify::notify(&states)).await;
}

async fn tell(send: impl FnOnce() -> io::Result<()> + Send + 'static) {
    if !is_listening() {
        return;
    }
    let told = timeout(TELL_TIMEOUT, spawn_blocking(send)).await;
    if let Ok(Ok(Err(error))) = told {
        debug!(%error, "the service manager cannot be told");
    }
}
