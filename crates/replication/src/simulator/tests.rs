use std::time::{Duration, Instant};

use super::{
    Report, Violation,
    options::{Mistake, Options},
    run,
};

/// The schedules of a run without a variable: a second or so.
const SCHEDULES: u64 = 40;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn passes(options: Options) -> Report {
    let seed = options.seed;
    let report = run(options);
    if let Some(violation) = &report.violation {
        panic!(
            "{violation}\nreplay: SIMULATOR_SEED={seed} SIMULATOR_TRACE=1 cargo test -p replication simulator::tests::schedules"
        );
    }
    report
}

#[test]
fn schedules_of_faults_break_no_promise() {
    let started = Instant::now();
    let first = number("SIMULATOR_SEED");
    let limit = number("SIMULATOR_SECONDS").map(Duration::from_secs);
    let (mut schedules, mut faults, mut events, mut operations, mut leaders) = (0, 0, 0, 0, 0);
    for seed in first.unwrap_or(1).. {
        let report = passes(Options::new(seed));
        schedules += 1;
        faults += report.faults;
        events += report.events;
        operations += report.operations;
        leaders += report.leaders;
        let is_over = match (limit, first) {
            (Some(limit), _) => started.elapsed() >= limit,
            (None, Some(_)) => true,
            (None, None) => schedules == SCHEDULES,
        };
        if is_over {
            break;
        }
    }
    let a_minute = schedules as f64 * 60.0 / started.elapsed().as_secs_f64();
    println!(
        "{schedules} schedules from seed {}, {a_minute:.0} a minute; in each {} faults, {} leaders, {} operations, {} events",
        first.unwrap_or(1),
        faults / schedules,
        leaders / schedules,
        operations / schedules,
        events / schedules,
    );
}

/// Returns the first seed that finds a mistake, and what it finds.
fn find(mistake: Mistake, seeds: u64) -> Option<(u64, String)> {
    (1..=seeds).find_map(|seed| {
        let mut options = Options::new(seed);
        options.mistake = Some(mistake);
        let violation = run(options).violation?;
        if matches!(violation, Violation::NoConvergence { .. }) {
            return None;
        }
        Some((seed, violation.to_string()))
    })
}

#[test]
#[ignore = "survey"]
fn survey() {
    use Mistake::*;
    for mistake in [
        LateReadsShareProof,
        OwnEngineIsEnough,
        TermIgnored,
        ForwardedAgain,
        PublishedBeforeCommit,
        RetriedBlindly,
        NoFence,
        ChecksUnproven,
        AnswersOvertakeRows,
        CompactionForgotten,
    ] {
        println!(
            "{mistake:?}: {:?}",
            find(mistake, number("SURVEY").unwrap_or(300))
        );
    }
}
