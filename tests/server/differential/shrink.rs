//! Makes a sequence that shows a difference as small as it gets.

use std::time::{Duration, Instant};

use super::operation::Operation;
use super::pair::{Found, Pair};
use super::wire;

/// Each attempt is a whole run, and a missing answer makes it a slow one.
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// The smaller sequence, and the difference that it shows.
pub async fn shrink(
    pair: &mut Pair,
    sequence: Vec<Operation>,
    found: Found,
) -> (Vec<Operation>, Found) {
    let mut best = (sequence, found);
    let deadline = Instant::now() + TIME_LIMIT;
    best.0.truncate(best.1.step + 1);
    let mut was_reduced = true;
    while was_reduced && Instant::now() < deadline {
        was_reduced = remove_operations(pair, &mut best, deadline).await;
        was_reduced |= simplify_requests(pair, &mut best, deadline).await;
    }
    best
}

async fn keep_if_it_shows(
    pair: &mut Pair,
    best: &mut (Vec<Operation>, Found),
    candidate: Vec<Operation>,
) -> bool {
    let Some(found) = pair.play(&candidate).await else {
        return false;
    };
    *best = (candidate, found);
    best.0.truncate(best.1.step + 1);
    true
}

/// Takes away ever smaller blocks.
async fn remove_operations(
    pair: &mut Pair,
    best: &mut (Vec<Operation>, Found),
    deadline: Instant,
) -> bool {
    let mut was_reduced = false;
    let mut block = best.0.len() / 2;
    while block > 0 {
        let mut from = 0;
        while from < best.0.len() && Instant::now() < deadline {
            let mut candidate = best.0.clone();
            candidate.drain(from..(from + block).min(candidate.len()));
            if keep_if_it_shows(pair, best, candidate).await {
                was_reduced = true;
            } else {
                from += block;
            }
        }
        block /= 2;
    }
    was_reduced
}

async fn simplify_requests(
    pair: &mut Pair,
    best: &mut (Vec<Operation>, Found),
    deadline: Instant,
) -> bool {
    let mut was_reduced = false;
    let mut index = 0;
    while index < best.0.len() {
        let mut attempt = 0;
        while index < best.0.len() && Instant::now() < deadline {
            let operation = &best.0[index];
            let encoded = operation.encode();
            let Some(smaller) = wire::smaller(&encoded).into_iter().nth(attempt) else {
                break;
            };
            attempt += 1;
            let Some(simpler) = operation.with(&smaller) else {
                continue;
            };
            // Only what gets smaller again: an unknown field would stay for ever.
            if simpler.encode().len() >= encoded.len() {
                continue;
            }
            let mut candidate = best.0.clone();
            candidate[index] = simpler;
            if keep_if_it_shows(pair, best, candidate).await {
                was_reduced = true;
                attempt = 0;
            }
        }
        index += 1;
    }
    was_reduced
}
