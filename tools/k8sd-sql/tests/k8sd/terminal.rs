//! A person at a terminal.

use std::{
    fs::{self, File},
    io::{Read, Write},
    process::{Child, Command},
    sync::{Arc, Mutex},
    thread,
};

use nix::pty::{Winsize, openpty};

use crate::daemon::{Daemon, wait_for};

/// Killed when it is dropped: it holds its own terminal, so that nothing else ends it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn statements_are_edited_completed_and_remembered() {
    let node = Daemon::bootstrapped("node1");
    let history = node.dir().join("history");
    let size = Winsize {
        ws_row: 24,
        ws_col: 120,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let pty = openpty(Some(&size), None).unwrap();
    let slave = || File::from(pty.slave.try_clone().unwrap());
    // It makes the terminal that of the command, so that Ctrl-C reaches it.
    let mut command = Command::new("setsid");
    command
        .args(["--ctty", env!("CARGO_BIN_EXE_k8sd"), "sql", "--state-dir"])
        .arg(node.dir())
        .env("TERM", "xterm")
        .env("K8SD_HISTORY", &history)
        .stdin(slave())
        .stdout(slave())
        .stderr(slave());
    let mut child = Running(command.spawn().unwrap());
    drop(command);
    drop(pty.slave);
    let mut keyboard = File::from(pty.master);
    let screen = Arc::new(Mutex::new(String::new()));
    let (mut reader, shared) = (keyboard.try_clone().unwrap(), screen.clone());
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        // The end of a terminal is an error.
        while let Ok(read @ 1..) = reader.read(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
            shared.lock().unwrap().push_str(&text);
        }
    });
    for (keys, shown) in [
        ("", "k8sd> "),
        // A statement of two lines, with a name that is completed.
        (
            "select 40 + 2 as answer\rfrom core_cluster_m\t;\r",
            "answer\r\n42",
        ),
        ("select * from nope;\r", "no such table: nope"),
        (".tables\r", "core_token_records"),
        // What was typed before, and a line that is given up.
        ("\x1b[A\x1b[A\x1b[A", "core_cluster_members;"),
        ("\x03", "k8sd> "),
        ("select 'again' || 1;\r", "again1"),
    ] {
        keyboard.write_all(keys.as_bytes()).unwrap();
        let seen = screen.clone();
        wait_for(shown, || seen.lock().unwrap().contains(shown));
        screen.lock().unwrap().clear();
    }
    keyboard.write_all(b"\x04").unwrap();
    let mut ended = None;
    wait_for("the prompt to end", || {
        ended = child.0.try_wait().unwrap();
        ended.is_some()
    });
    assert!(ended.unwrap().success());
    assert!(fs::read_to_string(history).unwrap().contains("answer"));
}
