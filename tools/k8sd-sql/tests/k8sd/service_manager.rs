//! A daemon under a service manager.

use std::{
    os::unix::net::UnixDatagram,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use crate::daemon::{Daemon, wait_for};

/// The timeout of the watchdog.
const WATCHDOG: Duration = Duration::from_secs(3);

#[test]
fn it_is_ready_when_it_answers_and_gives_signs_of_life() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let told = listen(&path);
    let has = |text: &str| told.lock().unwrap().iter().any(|line| line.contains(text));
    let timeout = WATCHDOG.as_micros().to_string();
    let mut daemon = Daemon::start_with(&[
        ("NOTIFY_SOCKET", path.to_str().unwrap()),
        ("WATCHDOG_USEC", &timeout),
    ]);
    wait_for("READY", || has("READY=1"));
    wait_for("the state", || has("STATUS=no member of a cluster yet"));
    daemon.good(&["bootstrap", "--name", "node1", "--address", &daemon.address]);
    wait_for("the new state", || has("STATUS=node1 leads"));
    wait_for("a sign of life", || has("WATCHDOG=1"));

    daemon.signal(Signal::SIGSTOP);
    let mut since = Instant::now();
    wait_for("silence", || {
        if std::mem::take(&mut *told.lock().unwrap()).contains(&"WATCHDOG=1".to_owned()) {
            since = Instant::now();
        }
        since.elapsed() > WATCHDOG
    });
    daemon.signal(Signal::SIGCONT);
    wait_for("another sign of life", || has("WATCHDOG=1"));

    assert!(daemon.terminate().success());
    wait_for("the end", || has("STOPPING=1"));
    // Signs of life go on until the engine has stopped.
    let told = told.lock().unwrap();
    let last = told.iter().rfind(|line| line.starts_with("STATUS="));
    assert_eq!(last.map(String::as_str), Some("STATUS=stopping"));
}

/// Returns all assignments that arrive at the socket, as they come.
fn listen(path: &std::path::Path) -> Arc<Mutex<Vec<String>>> {
    let socket = UnixDatagram::bind(path).unwrap();
    let told = Arc::<Mutex<Vec<String>>>::default();
    let heard = told.clone();
    // Ends with the process of the tests.
    thread::spawn(move || {
        let mut bytes = vec![0; 4096];
        while let Ok(length) = socket.recv(&mut bytes) {
            let lines = String::from_utf8(bytes[..length].to_vec()).unwrap();
            let mut heard = heard.lock().unwrap();
            heard.extend(lines.lines().map(str::to_owned));
        }
    });
    told
}
