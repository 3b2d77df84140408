//! Beside the original: microcluster's example daemon, of the release that Canonical Kubernetes has.
//!
//! MICROD_BIN names it (`scripts/microcluster`), with microctl beside it; without, this says so and does nothing.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::daemon::{Daemon, wait_for};

/// Killed when it is dropped.
struct Original {
    process: Child,
    ctl: PathBuf,
    dir: PathBuf,
}

impl Original {
    fn start(dir: &Path) -> Option<Self> {
        let Some(program) = std::env::var_os("MICROD_BIN").map(PathBuf::from) else {
            eprintln!("skipped: MICROD_BIN does not name microcluster's example daemon");
            return None;
        };
        let mut command = Command::new(&program);
        command
            .args(["--heartbeat", "1s", "--state-dir"])
            .arg(dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let original = Self {
            process: command.spawn().unwrap(),
            ctl: program.with_file_name("microctl"),
            dir: dir.to_owned(),
        };
        wait_for("microcluster to listen", || {
            std::os::unix::net::UnixStream::connect(dir.join("control.socket")).is_ok()
        });
        Some(original)
    }

    /// Returns what microctl prints, if it succeeds.
    fn ctl(&self, args: &[&str]) -> Option<String> {
        let mut command = Command::new(&self.ctl);
        let output = command
            .args(args)
            .arg("--state-dir")
            .arg(&self.dir)
            .output();
        let output = output.unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then_some(printed)
    }

    fn good(&self, args: &[&str]) -> String {
        self.ctl(args)
            .unwrap_or_else(|| panic!("microctl {args:?}"))
    }

    fn stop(mut self) {
        let pid = Pid::from_raw(self.process.id().cast_signed());
        kill(pid, Signal::SIGTERM).unwrap();
        wait_for("microcluster to end", || {
            self.process.try_wait().unwrap().is_some()
        });
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A cluster of one that the original has begun, in the directory of a daemon of ours that does not run.
fn begun() -> Option<(Daemon, Original)> {
    let mut node = Daemon::start();
    node.kill();
    let original = Original::start(node.dir())?;
    original.good(&["init", "node1", &node.address, "--bootstrap"]);
    wait_for("the first heartbeat", || {
        original.good(&["cluster", "list"]).contains("voter")
    });
    Some((node, original))
}

#[test]
fn the_command_works_with_the_originals_daemon() {
    let Some((node, original)) = begun() else {
        return;
    };
    let csv = |statement: &str| node.good(&["sql", "--format", "csv", statement]);
    assert_eq!(
        csv("SELECT name, address FROM core_cluster_members"),
        format!("name,address\r\nnode1,{}\r\n", node.address)
    );
    let insert = "INSERT INTO extended_table (key, value) VALUES ('a', 'b')";
    assert!(node.good(&["sql", insert]).contains("Rows affected: 1"));
    let both = node.good(&[
        "sql",
        "SELECT key FROM extended_table; SELECT value FROM extended_table",
    ]);
    assert!(
        both.contains("=> Query 0:\nkey\na\n=> Query 1:\nvalue\nb\n"),
        "{both}"
    );
    assert!(node.good(&["sql", ".tables"]).contains("extended_table\n"));
    // As k8sd prints it, with a line's end of its own.
    let schema = original.good(&["sql", ".schema"]) + "\n";
    assert_eq!(node.good(&["sql", ".schema"]), schema);
    let dump = node.good(&["sql", ".dump"]);
    assert!(
        dump.contains("INSERT INTO extended_table VALUES(1,'a','b');\n"),
        "{dump}"
    );
    let told = node.bad(&["sql", "SELECT * FROM nowhere"]);
    assert!(
        told.contains("Failed to execute query: no such table: nowhere"),
        "{told}"
    );
    assert!(node.good(&["members"]).contains("node1"));
    node.good(&["status"]);
}

#[test]
fn a_directory_of_the_original_is_taken_over_and_given_back() {
    let Some((mut node, original)) = begun() else {
        return;
    };
    original.good(&[
        "sql",
        "INSERT INTO extended_table (key, value) VALUES ('theirs', '1')",
    ]);
    let token = original.good(&["tokens", "add", "node2"]);
    original.stop();

    node.start_again();
    let members = node.good(&["members"]);
    assert!(
        members.contains("voter") && members.contains(&node.address),
        "{members}"
    );
    assert!(node.good(&["token", "list"]).contains(token.trim()));
    node.good(&["cluster", "check"]);
    let rows = node.good(&["sql", "--format", "csv", "SELECT key FROM extended_table"]);
    assert_eq!(rows, "key\r\ntheirs\r\n");
    node.good(&[
        "sql",
        "INSERT INTO extended_table (key, value) VALUES ('ours', '2')",
    ]);
    node.good(&["shutdown"]);
    node.wait_for_end();

    let original = Original::start(node.dir()).expect("it ran before");
    wait_for("microcluster to have its database", || {
        original.ctl(&["sql", "SELECT 1"]).is_some()
    });
    let rows = original.good(&["sql", "SELECT key FROM extended_table ORDER BY id"]);
    assert!(rows.contains("theirs") && rows.contains("ours"), "{rows}");
    assert!(original.good(&["tokens", "list"]).contains("node2"));
}

#[test]
fn the_two_do_not_mix_and_leave_nothing_behind() {
    let Some((theirs, original)) = begun() else {
        return;
    };
    let ours = Daemon::start();
    let token = original.good(&["tokens", "add", "node2"]);
    ours.bad(&[
        "join",
        token.trim(),
        "--name",
        "node2",
        "--address",
        &ours.address,
    ]);
    let members = theirs.good(&[
        "sql",
        "--format",
        "csv",
        "SELECT name FROM core_cluster_members",
    ]);
    assert_eq!(members, "name\r\nnode1\r\n");

    let first = Daemon::bootstrapped("first");
    let mut stranger = Daemon::start();
    stranger.kill();
    let other = Original::start(stranger.dir()).expect("one ran before");
    let token = first.good(&["token", "add", "node2"]);
    let init = ["init", "node2", &stranger.address, "--token", token.trim()];
    assert_eq!(other.ctl(&init), None);
    assert_eq!(first.good(&["members"]).matches("node2").count(), 0);
    first.good(&["cluster", "check"]);
}
