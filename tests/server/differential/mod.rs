//! Random sequences of requests, step by step on this server and on etcd: every answer is the same.
//!
//! A difference is shrunk, and shown with both answers. `FUZZ_SEED` names the first sequence,
//! `FUZZ_SEQUENCES` how many are run, `FUZZ_SECONDS` for how long instead. What may differ is in
//! `differences.rs` and in docs/compat.md.

mod answer;
mod callers;
mod differences;
mod generate;
mod json;
mod operation;
mod order;
mod pair;
mod shrink;
mod side;
mod streams;
mod waiting;
mod wire;

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;

use operation::Operation;
use pair::{Found, Pair};

/// The same sequences each time, so that the gate does not fail by chance.
const SEED: u64 = 1;

/// About twenty seconds on two busy cores.
const SEQUENCES: u64 = 100;

/// The number of differences after which the test stops: something is wrong then.
const DIFFERENCES: u64 = 10;

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect(name))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_sequences_have_the_answers_of_etcd() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    let first = from_environment("FUZZ_SEED").unwrap_or(SEED);
    let seconds = from_environment("FUZZ_SECONDS").map(Duration::from_secs);
    let sequences = match seconds {
        Some(_) => u64::MAX,
        None => from_environment("FUZZ_SEQUENCES").unwrap_or(SEQUENCES),
    };
    let started_at = Instant::now();
    let (mut played, mut differences) = (0, 0);
    println!("FUZZ_SEED={first} begins");
    while played < sequences
        && seconds.is_none_or(|limit| started_at.elapsed() < limit)
        && differences < DIFFERENCES
    {
        let seed = first.wrapping_add(played);
        let sequence = generate::sequence(&mut StdRng::seed_from_u64(seed));
        if let Some(found) = pair.play(&sequence).await {
            let (shrunk, found) = shrink::shrink(&mut pair, sequence, found).await;
            println!(
                "FUZZ_SEED={seed} FUZZ_SEQUENCES=1\n{}\n",
                shown(&shrunk, &found)
            );
            differences += 1;
        }
        played += 1;
    }
    let elapsed = started_at.elapsed();
    println!(
        "{played} sequences, {} operations in {elapsed:.1?}",
        pair.operations
    );
    for (difference, count) in &pair.accepted {
        println!("{count:6} times {difference}");
    }
    assert_eq!(differences, 0, "not all answers are etcd's");
}

fn shown(sequence: &[Operation], found: &Found) -> String {
    let steps: Vec<_> = sequence
        .iter()
        .enumerate()
        .map(|(index, operation)| format!("{index:3}: {operation:?}"))
        .collect();
    format!(
        "{}\nThe answers to {} differ.\nhere: {}\netcd: {}",
        steps.join("\n"),
        found.step,
        found.ours,
        found.etcd
    )
}

/// Operations that are drawn until one is of the wanted kind.
const DRAWS: usize = 200;

/// The bytes of a random request to this method; of any kind if there are none to that one.
pub fn valid_request(method: &str, random: &mut StdRng) -> Vec<u8> {
    let mut operation = generate::operation(random);
    for _ in 0..DRAWS {
        // The variants have the names of the methods.
        let name = format!("{operation:?}");
        let is_of_kind = name
            .split(|letter: char| !letter.is_alphanumeric())
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case(method));
        if is_of_kind {
            break;
        }
        operation = generate::operation(random);
    }
    operation.encode()
}
