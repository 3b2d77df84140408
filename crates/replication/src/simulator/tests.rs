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
        panic!("{violation}\nreplay: scripts/test simulator --seed {seed} --trace");
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

/// Returns the first of some seeds whose schedule finds a mistake, and what it finds.
fn find(mistake: Mistake, seeds: impl IntoIterator<Item = u64>) -> Option<(u64, Violation)> {
    seeds.into_iter().find_map(|seed| {
        let mut options = Options::new(seed);
        options.mistake = Some(mistake);
        run(options).violation.map(|violation| (seed, violation))
    })
}

/// A mistake, the first seed that is tried, and what has to be found within a few.
fn finds(mistake: Mistake, first: u64, is_expected: fn(&Violation) -> bool) {
    let found = find(mistake, first..first + 40);
    match &found {
        Some((_, violation)) => assert!(is_expected(violation), "{mistake:?}: {found:?}"),
        None => panic!("{mistake:?} is not found: SIMULATOR_SURVEY=1000 finds other seeds"),
    }
}

fn is_stale(violation: &Violation) -> bool {
    matches!(violation, Violation::Stale { .. })
}

fn is_written_twice(violation: &Violation) -> bool {
    matches!(violation, Violation::WrittenTwice { .. })
}

#[test]
fn a_proof_by_the_own_engine_alone_is_found() {
    finds(Mistake::OwnEngineIsEnough, 20, is_stale);
}

#[test]
fn a_proof_that_began_before_its_reads_is_found() {
    finds(Mistake::LateReadsShareProof, 2180, is_stale);
}

#[test]
fn a_request_that_changed_nothing_and_is_answered_without_a_proof_is_found() {
    finds(Mistake::ChecksUnproven, 30, is_stale);
}

#[test]
fn a_proof_that_does_not_compare_the_term_is_found() {
    finds(Mistake::TermIgnored, 1, is_stale);
}

#[test]
fn a_follower_that_does_not_look_at_the_stored_term_is_found() {
    // Stale reads would need an old leader that still reaches the follower's process, and not its engine. Proofs that nobody
    // gives any more are found.
    finds(Mistake::StoredTermIgnored, 31_960, |violation| {
        matches!(violation, Violation::NoConvergence { .. })
    });
}

#[test]
fn a_request_that_changed_nothing_and_outlives_the_time_of_leading_is_found() {
    finds(Mistake::ChecksOutliveLeading, 230, is_stale);
}

#[test]
fn a_new_leader_that_reads_before_it_has_committed_is_found() {
    finds(Mistake::NoFence, 1, is_stale);
}

/// A new leader that knows too little answers wrongly in either case; only where keys are the fence does it overwrite as well.
#[test]
fn a_second_writer_whose_batches_end_elsewhere_is_found() {
    let overwrites = |mistake, seed| {
        let mut options = Options::new(seed);
        options.mistake = Some(mistake);
        matches!(run(options).violation, Some(Violation::Gap { .. }))
    };
    let found = (1..=200).find(|seed| overwrites(Mistake::FencedByKey, *seed));
    let seed = found.expect("one of the schedules overwrites");
    assert!(!overwrites(Mistake::NoFence, seed));
}

#[test]
fn a_request_that_is_forwarded_again_is_found() {
    finds(Mistake::ForwardedAgain, 1, is_written_twice);
}

#[test]
fn a_batch_of_unknown_outcome_that_is_sent_again_is_found() {
    finds(Mistake::RetriedBlindly, 1, is_written_twice);
}

#[test]
fn a_leader_that_publishes_before_the_commit_is_found() {
    finds(Mistake::PublishedBeforeCommit, 1, |violation| {
        matches!(violation, Violation::NotAPrefix { .. })
    });
}

#[test]
fn an_answer_that_overtakes_its_rows_is_found() {
    finds(Mistake::AnswersOvertakeRows, 1, |violation| {
        matches!(violation, Violation::AnswerBeforeRows { .. })
    });
}

#[test]
fn a_session_that_goes_on_below_the_compaction_is_found() {
    finds(Mistake::CompactionForgotten, 1, |violation| {
        matches!(violation, Violation::NoConvergence { .. })
    });
}

/// Prints how often a hazard of libdqlite, which the tests of the model of the engine describe, comes true under a bad network.
#[test]
#[ignore = "a hazard of libdqlite: for SIMULATOR_SURVEY=n, tries n seeds"]
fn the_acknowledgement_of_a_whole_log_may_lose_what_was_committed() {
    let seeds = number("SIMULATOR_SURVEY").unwrap_or(SCHEDULES);
    let lost = (1..=seeds).filter_map(|seed| {
        let mut options = Options::new(seed);
        options.acks_whole_log = true;
        let violation = run(options).violation?;
        Some((seed, violation))
    });
    let lost: Vec<_> = lost.collect();
    println!(
        "{} of {seeds} schedules, the first: {:?}",
        lost.len(),
        lost.first()
    );
}

/// Prints the first seed that finds each mistake, or the one that `SIMULATOR_MISTAKE` names.
#[test]
#[ignore = "for SIMULATOR_SURVEY=n: tries n seeds for each mistake"]
fn survey() {
    use Mistake::*;
    let seeds = number("SIMULATOR_SURVEY").unwrap_or(SCHEDULES);
    let first = number("SIMULATOR_SEED").unwrap_or(1);
    let wanted = std::env::var("SIMULATOR_MISTAKE").ok();
    let mistakes = [
        LateReadsShareProof,
        OwnEngineIsEnough,
        TermIgnored,
        StoredTermIgnored,
        ForwardedAgain,
        PublishedBeforeCommit,
        RetriedBlindly,
        NoFence,
        FencedByKey,
        ChecksUnproven,
        ChecksOutliveLeading,
        AnswersOvertakeRows,
        CompactionForgotten,
    ];
    for mistake in mistakes {
        let name = format!("{mistake:?}");
        if wanted.as_ref().is_none_or(|wanted| *wanted == name) {
            println!("{name}: {:?}", find(mistake, first..first + seeds));
        }
    }
}
