//! `k8sd shutdown`: asks the daemon to stop, and waits until its process has ended.

use std::{fs, path::Path, time::Duration};

use k8sd::{Error, client::Target, state::StateDir};
use serde_json::Value;
use tokio::{
    net::UnixStream,
    time::{Instant, sleep},
};

/// The daemon hands over first; its own limits end it before.
const END_TIMEOUT: Duration = Duration::from_secs(120);

const ASK_TIMEOUT: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_millis(50);

pub async fn run(state: &StateDir) -> Result<(), Error> {
    let socket = state.control_socket();
    let process = holder(&socket).await;
    let daemon = Target::Socket(socket.clone());
    let path = "/core/control/shutdown";
    daemon
        .call::<Value>(hyper::Method::POST, path, None, ASK_TIMEOUT)
        .await?;
    let deadline = Instant::now() + END_TIMEOUT;
    loop {
        let runs = match process {
            Some(process) => is_running(process),
            None => socket.exists(),
        };
        if !runs {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Error::Late(format!(
                "the daemon was asked to stop, and still runs after {} s: see its log",
                END_TIMEOUT.as_secs()
            )));
        }
        sleep(PAUSE).await;
    }
}

/// Returns the process that serves the socket; none if it cannot be told, such as from another namespace.
async fn holder(socket: &Path) -> Option<i32> {
    let stream = UnixStream::connect(socket).await.ok()?;
    let process = stream.peer_cred().ok()?.pid()?;
    (process > 0).then_some(process)
}

/// One that has ended, and which its parent has not heard of, runs no more.
fn is_running(process: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat")) else {
        return false;
    };
    // Behind the name, which may have spaces and brackets.
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    !state.starts_with(['Z', 'X'])
}
