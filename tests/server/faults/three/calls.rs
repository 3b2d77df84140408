//! One call of the node on a file fails: of each kind one, while it follows and while it leads.

use std::collections::{BTreeMap, BTreeSet};

use super::Cluster;
use crate::faults::load::{LARGE_BYTES, LARGE_WRITES, SMALL_WRITES};
use crate::faults::shim::{Armed, calls, failed, preload_unarmed};
use crate::faults::{ERRORS, REFUSALS};

/// Cases that are tried without FAULT_CALLS.
const USUAL: usize = 3;

/// Writes between two looks at whether the call has failed.
const WRITES_AT_A_TIME: usize = 15;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum When {
    Starting,
    Following,
    Leading,
}

/// The call, and how the name of its file begins: in two words, as the library wants them.
fn kind(call: &str) -> (String, String) {
    let (name, file) = call.split_once(' ').unwrap_or((call, ""));
    let is_number = |c: char| c.is_ascii_digit();
    let file = match file {
        "" => ".",
        "/metadata1" | "/metadata2" => file,
        file if file[1..].starts_with(is_number) => "/0",
        file => &file[..=file.find('-').unwrap_or(file.len() - 1)],
    };
    (name.to_owned(), file.to_owned())
}

impl Cluster {
    /// A run of the node in which that call fails, or none. The node runs, or has ended, in the end. Returns
    /// how many calls were made until it served, and the exit code.
    async fn run(&mut self, when: When, armed: Option<&Armed>) -> (usize, i32) {
        let log = self.node().path().join("calls");
        for old in [&log, &log.with_extension("arm")] {
            let _ = std::fs::remove_file(old);
        }
        assert!(self.node().terminate().await.success());
        let unarmed = Armed::of("any", "any", 0);
        let known = armed.unwrap_or(&unarmed);
        if let (Some(armed), When::Starting) = (armed, when) {
            armed.arm(&log);
        }
        self.node()
            .launch_with(|command, dir| preload_unarmed(command, dir, &log, known));
        if let Some(code) = self
            .serves_or_refuses(&REFUSALS, &format!("{known:?}"))
            .await
        {
            return (0, code);
        }
        let at_start = calls(&log).len();
        if when != When::Starting {
            let leads = when == When::Leading;
            match (self.let_lead(leads).await, armed) {
                (true, Some(armed)) => armed.arm(&log),
                (true, None) => {}
                (false, _) => println!("leads: {leads} is not to be had"),
            }
        }
        let mut left = [(LARGE_WRITES, LARGE_BYTES), (SMALL_WRITES, 1)];
        for (writes, bytes) in &mut left {
            while *writes > 0 && failed(&log).is_none() {
                self.write(WRITES_AT_A_TIME, *bytes).await;
                *writes = writes.saturating_sub(WRITES_AT_A_TIME);
            }
        }
        if self.node().process().exited().is_none() {
            self.node()
                .process()
                .signal(nix::sys::signal::Signal::SIGTERM);
        }
        let status = self.node().process().wait().await;
        if status.success() {
            self.node().forget();
            return (at_start, 0);
        }
        (at_start, self.refusal(&REFUSALS, &format!("{known:?}")))
    }
}

#[tokio::test]
async fn no_call_on_a_file_of_one_node_of_three_fails_in_silence() {
    let mut cluster = Cluster::start().await;
    let log = cluster.node().path().join("calls");
    let mut kinds = BTreeSet::new();
    for when in [When::Following, When::Leading] {
        let (at_start, code) = cluster.run(when, None).await;
        assert_eq!(code, 0);
        for (index, call) in calls(&log).iter().enumerate() {
            let when = if index < at_start {
                When::Starting
            } else {
                when
            };
            kinds.insert((when, kind(call)));
        }
        cluster.node().restart().await;
    }
    let mut cases: Vec<_> = kinds
        .into_iter()
        .flat_map(|(when, (call, file))| ERRORS.map(|errno| (when, Armed::of(&call, &file, errno))))
        .collect();
    if std::env::var("FAULT_CALLS").is_err() {
        // Neighbours differ in the error, so the step is no multiple of their number.
        let mut step = cases.len() / USUAL;
        step += usize::from(step.is_multiple_of(ERRORS.len()));
        cases = cases.into_iter().step_by(step).collect();
    }
    let mut outcomes: BTreeMap<(When, String), usize> = BTreeMap::new();
    // After a run that ended early, the first ones need not be tried again.
    let skipped = std::env::var("FAULT_SKIP");
    let skipped = skipped.map_or(0, |number| number.parse().expect("FAULT_SKIP"));
    for (when, armed) in cases.iter().skip(skipped) {
        let (_, code) = cluster.run(*when, Some(armed)).await;
        let outcome = match (failed(&log), code) {
            (None, 0) => "not reached".to_owned(),
            (Some(_), 0) => "went on".to_owned(),
            (Some(_), code) => format!("ended with {code}"),
            (None, code) => panic!("{armed:?}: ended with {code} and without a fault"),
        };
        println!("{when:?}, {armed:?}: {outcome}");
        cluster.node().restart().await;
        cluster.check().await;
        *outcomes.entry((*when, outcome)).or_default() += 1;
    }
    println!(
        "{} calls without the first {skipped}: {outcomes:?}",
        cases.len()
    );
}
