//! A person at a terminal.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::pty::{Winsize, openpty};

use crate::cluster::Cluster;
use crate::run::{OURS, REFUSED, until};

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const UP: &str = "\x1b[A";

struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<String>>,
    /// The length of the screen's text that `expect` has seen so far.
    seen: usize,
}

impl Terminal {
    fn open(cluster: &Cluster, more: &[&str], variables: &[(&str, &str)]) -> Terminal {
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(Some(&size), None).unwrap();
        let slave = || File::from(pty.slave.try_clone().unwrap());
        // It makes the terminal that of the shell, so that Ctrl-C reaches it.
        let mut command = Command::new("setsid");
        command
            .args(["--ctty", OURS])
            .args(cluster.arguments(more))
            .env("TERM", "xterm")
            .env("DQLITE_HISTORY", cluster.path().join("history"))
            .env_remove("NO_COLOR")
            .envs(variables.iter().copied())
            .stdin(slave())
            .stdout(slave())
            .stderr(slave());
        let child = command.spawn().unwrap();
        drop(command);
        drop(pty.slave);
        let keyboard = File::from(pty.master);
        let screen = Arc::new(Mutex::new(String::new()));
        let (mut reader, shared) = (keyboard.try_clone().unwrap(), screen.clone());
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The end of a terminal is an error.
            while let Ok(read @ 1..) = reader.read(&mut bytes) {
                shared
                    .lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&bytes[..read]));
            }
        });
        Terminal {
            child,
            keyboard,
            screen,
            seen: 0,
        }
    }

    fn keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the screen shows a text after what was expected before.
    #[track_caller]
    fn expect(&mut self, text: &str) {
        let mut found = None;
        let screen = self.screen.clone();
        let seen = self.seen;
        let deadline = std::time::Instant::now() + crate::run::TIMEOUT;
        while found.is_none() {
            let shown = screen.lock().unwrap().clone();
            found = shown[seen..].find(text).map(|at| seen + at + text.len());
            assert!(
                std::time::Instant::now() < deadline,
                "{text:?} is not in {:?}",
                &shown[seen..]
            );
            thread::sleep(std::time::Duration::from_millis(10));
        }
        self.seen = found.unwrap();
    }

    fn ends(mut self) -> i32 {
        let mut status = None;
        until("the shell ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code().unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn history(cluster: &Cluster) -> PathBuf {
    cluster.path().join("history")
}

#[test]
fn lines_are_edited_completed_and_remembered() {
    let cluster = Cluster::start(1);
    cluster.put("key", "value");
    let mut terminal = Terminal::open(&cluster, &["k8s"], &[]);
    terminal.expect("k8s leader> ");
    // A command, a table and a column by their beginnings.
    terminal.keys(".lea\t\r");
    terminal.expect(&cluster.nodes[0].address);
    terminal.expect("leader> ");
    terminal.keys("sel\t nam\t from kine;\r");
    terminal.expect("key");
    terminal.expect("leader> ");
    terminal.keys("select count(*) from sett\t;\r");
    terminal.expect("from setting");
    terminal.expect("count(*)");
    terminal.expect("leader> ");
    // Over several lines.
    terminal.keys("select 'a;\r");
    terminal.keys("b' as x,\r");
    terminal.keys("6 * 7 as y;\r");
    terminal.expect("42");
    terminal.expect("leader> ");
    // Ctrl-C gives a line up, and not the shell.
    terminal.keys("select broken from");
    terminal.expect("broken");
    terminal.keys(CTRL_C);
    terminal.expect("leader> ");
    terminal.keys("selec;\r");
    terminal.expect("syntax error");
    terminal.expect("leader> ");
    terminal.keys(CTRL_D);
    assert_eq!(terminal.ends(), 0);
    let kept = fs::read_to_string(history(&cluster)).unwrap();
    assert!(
        kept.contains(".leader") && kept.contains("select name from kine"),
        "{kept}"
    );
    // In the next session, too.
    let mut terminal = Terminal::open(&cluster, &["k8s"], &[]);
    terminal.expect("leader> ");
    terminal.keys(UP);
    terminal.expect("selec;");
    terminal.keys(UP);
    terminal.expect("6 * 7");
    terminal.keys("\r");
    terminal.expect("42");
    terminal.expect("leader> ");
    terminal.keys(".quit\r");
    assert_eq!(terminal.ends(), 0);
}

#[test]
fn a_query_is_cancelled_and_what_may_come_of_it_is_told() {
    let cluster = Cluster::start(1);
    let mut terminal = Terminal::open(&cluster, &["other"], &[]);
    terminal.expect("other leader> ");
    // Some seconds of work on the server, not for ever: nothing can stop it there.
    terminal.keys(
        "with recursive n(x) as (select 1 union all select x + 1 from n where x < 40000000) select count(*) from n;\r",
    );
    let before = cluster.nodes[0].cpu_ticks();
    until("the server works on it", || {
        cluster.nodes[0].cpu_ticks() > before + 20
    });
    terminal.keys(CTRL_C);
    terminal.expect("cancelled");
    terminal.expect("may still run");
    terminal.expect("> ");
    terminal.keys("select 6 * 7;\r");
    terminal.expect("42");
    terminal.keys(CTRL_D);
}

#[test]
fn long_results_are_paged() {
    let cluster = Cluster::start(1);
    let pager = "sed -u 's/^/PAGED /'";
    let rows = "with recursive n(x) as (select 1 union all select x + 1 from n where x < 100) select x from n;\r";
    let mut terminal = Terminal::open(&cluster, &["k8s"], &[("PAGER", pager)]);
    terminal.expect("leader> ");
    terminal.keys("select 7 as short;\r");
    terminal.expect("short");
    terminal.expect("leader> ");
    terminal.keys(rows);
    terminal.expect("PAGED 100");
    terminal.expect("leader> ");
    terminal.keys("select hex(zeroblob(60)) as wide;\r");
    terminal.expect("PAGED wide");
    terminal.expect("leader> ");
    terminal.keys(".pager off\r");
    terminal.expect("leader> ");
    terminal.keys(rows);
    terminal.expect("\n100");
    terminal.keys(CTRL_D);
    assert_eq!(terminal.ends(), 0);
    // Without a pager nothing is lost.
    let mut terminal = Terminal::open(&cluster, &["k8s"], &[("PAGER", "no-such-pager")]);
    terminal.expect("leader> ");
    terminal.keys(rows);
    terminal.expect("PAGER names another");
    terminal.expect("\n100");
}

#[test]
fn data_does_not_control_the_terminal_and_colours_can_be_had_without() {
    let cluster = Cluster::start(1);
    let mut terminal = Terminal::open(&cluster, &["--no-color", "k8s"], &[]);
    terminal.expect("leader> ");
    terminal.keys("select char(27) || '[31mred' as x;\r");
    terminal.expect("\\x1b[31mred");
    terminal.expect("leader> ");
    terminal.keys("selec;\r");
    terminal.expect("Error: ");
    assert!(!terminal.screen.lock().unwrap().contains("\x1b[31m"));
    terminal.keys(CTRL_D);
    let mut colourful = Terminal::open(&cluster, &["k8s", "selec"], &[]);
    colourful.expect("\x1b[31mError:");
    assert_eq!(colourful.ends(), 1);
}

#[test]
fn what_cannot_be_undone_is_asked_about() {
    let cluster = Cluster::start(1);
    cluster.shell(&[".add 127.0.0.1:1 abc"]).good();
    let mut terminal = Terminal::open(&cluster, &[".remove 127.0.0.1:1"], &[]);
    terminal.expect("Remove 127.0.0.1:1, a spare, from the cluster of 2 nodes? [y/N] ");
    terminal.keys("n\r");
    terminal.expect("not done");
    assert_eq!(terminal.ends(), REFUSED);
    let mut terminal = Terminal::open(&cluster, &["k8s"], &[]);
    terminal.expect("leader> ");
    terminal.keys(".remove 127.0.0.1:1\r");
    terminal.expect("[y/N] ");
    terminal.keys("y\r");
    terminal.expect("leader> ");
    terminal.keys(CTRL_D);
    terminal.ends();
    assert_eq!(cluster.shell(&[".cluster"]).good().lines().count(), 1);
}

#[test]
fn a_transaction_that_is_left_alone_ends() {
    let cluster = Cluster::start(1);
    cluster.shell(&["other", "create table t (a)"]).good();
    let mut terminal = Terminal::open(&cluster, &["other"], &[]);
    terminal.expect("leader> ");
    terminal.keys("begin; insert into t values (1);\r");
    terminal.expect("leader*> ");
    // Another writer waits no longer than that.
    until("another one can write", || {
        cluster.shell(&["other", "insert into t values (2)"]).code == 0
    });
    terminal.keys("insert into t values (3);\r");
    terminal.expect("rolled back, because it blocks other writers");
    terminal.expect("not executed");
    terminal.expect("> ");
    assert_eq!(
        cluster.shell(&["other", "select a from t"]).good(),
        "a\t\n2\t\n"
    );
    terminal.keys(CTRL_D);
}
