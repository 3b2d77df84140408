//! A disk lies, or somebody copies files: the server serves all that it has answered, or it refuses by name.
//!
//! Here one call on a file fails; in [`files`] the files of a node that does not run are changed, in [`start`] a
//! start cannot read them, and [`three`] is about one node of three. A first run without a fault counts the calls of
//! the engine and of the server on the files of the storage directory ([`shim`]); then the same run is made again and
//! again, each time with another call failing. Tried
//! are some of them, spread evenly; FAULT_CALLS=all tries each with each error.

pub mod change;
mod etcd;
mod files;
mod kinds;
mod load;
pub mod shim;
mod start;
mod three;

use std::collections::BTreeMap;

use crate::harness::*;
use load::Written;
use shim::{Fault, calls, preload};

/// Faults that are tried without FAULT_CALLS.
const USUAL: usize = 18;

/// The errors of a broken disk, a full disk and a full table of open files.
pub const ERRORS: [i32; 3] = [libc::EIO, libc::ENOSPC, libc::EMFILE];

/// Codes with which a server may end by itself: files of the directory, damage, dqlite, no room.
const REFUSALS: [i32; 4] = [3, 6, 7, 8];

const TUNING: &str = "snapshot:\n  threshold: 384\n  trailing: 512\n";

struct Run {
    server: Server,
    written: Written,
    calls: Vec<String>,
    outcome: String,
}

fn prepare() -> Server {
    let server = Server::prepare(Kind::K8sDqlite, Options::default());
    std::fs::write(server.storage_dir().join("tuning.yaml"), TUNING).unwrap();
    server
}

fn seed() -> u64 {
    let seed = std::env::var("FAULT_SEED").ok();
    let seed = seed.map_or_else(rand::random, |seed| seed.parse().expect("FAULT_SEED"));
    println!("FAULT_SEED={seed} repeats it");
    seed
}

/// Returns the last line that the server has printed.
fn last_line(server: &Server) -> String {
    let output = server.output();
    output.lines().next_back().unwrap_or_default().to_owned()
}

/// A server that starts, is written to and stops, with a fault on the way; then it is started without.
async fn run(fault: Fault) -> Run {
    let mut server = prepare();
    let mut written = Written::default();
    let log = server.path().join("calls");
    server.launch_with(|command, dir| preload(command, dir, &log, fault));
    let mut outcome = "went on".to_owned();
    if server.is_ready().await {
        written.write(&mut server).await;
        if server.process().exited().is_none() {
            server.process().signal(nix::sys::signal::Signal::SIGTERM);
        }
    }
    let status = server.process().wait().await;
    if !status.success() {
        let code = status.code();
        let last = last_line(&server);
        assert!(
            code.is_some_and(|code| REFUSALS.contains(&code)),
            "{fault:?}: {status}: {last}"
        );
        assert!(
            last.contains("ERROR") || last.contains("error"),
            "{fault:?}: {status}: {last}"
        );
        outcome = format!("ended with {}", code.unwrap());
    }
    server.forget();
    Run {
        server,
        written,
        calls: calls(&log),
        outcome,
    }
}

#[tokio::test]
async fn no_call_on_a_file_fails_in_silence() {
    let whole = run(Fault { at: 0, errno: 0 }).await;
    assert_eq!(whole.outcome, "went on", "{}", whole.server.output());
    let count = whole.calls.len();
    let has = |call: &str| whole.calls.iter().any(|found| found.starts_with(call));
    for call in [
        "create /open-3",
        "ftruncate /open-1",
        "rename /open-1",
        "mkstemp /tmp-",
        "scandir",
    ] {
        assert!(has(call), "{call} in {:?}", whole.calls);
    }
    let all = (1..=count).flat_map(|at| ERRORS.map(|errno| Fault { at, errno }));
    let mut faults: Vec<Fault> = all.collect();
    if std::env::var("FAULT_CALLS").is_err() {
        // Neighbours differ in the error, so the step is no multiple of their number.
        let step = (faults.len() / USUAL) | 1;
        faults = faults.into_iter().step_by(step).collect();
    }
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for fault in &faults {
        let Run {
            mut server,
            written,
            calls,
            outcome,
        } = run(*fault).await;
        let call = calls
            .get(fault.at - 1)
            .map_or("not reached", String::as_str);
        println!("{fault:?} {call}: {outcome}, {} answered", written.answered);
        server.launch();
        if server.is_ready().await {
            written.check(&server).await;
        } else {
            let status = server.process().exited().unwrap();
            panic!(
                "{fault:?}, {call}: the next start ended with {status}: {}",
                server.output()
            );
        }
        *outcomes.entry(outcome).or_default() += 1;
    }
    println!("{} of {} faults: {outcomes:?}", faults.len(), 3 * count);
}
