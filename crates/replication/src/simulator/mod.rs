//! Runs several nodes on a model of the engine, in virtual time, while processes end and sleep, messages are lost, and
//! outcomes stay unknown. Everything follows from a seed, so that a failure can be replayed:
//!
//! `scripts/test simulator --seed 7 --trace` runs the schedule 7 alone and prints each event; with `--seconds 600` schedules
//! are run from the seed on for ten minutes. `SIMULATOR_SURVEY=1000` and `--ignored` look for seeds that find mistakes:
//! each is found among the first 4,000, and all but one, reads that join a proof late, among the first 600.
//!
//! Map: `world`, `event` (time, and who hears what when) · `engine`, `index` (models of the engine and of a store) · `process` (one
//! node: the decisions under test) · `watching`, `leading`, `writer`, `following`, `session` (what carries them out) · `client`,
//! `faults` · `truth` (judges) · `options` (mistakes on purpose).

mod client;
mod engine;
mod event;
mod faults;
mod following;
mod index;
mod leading;
mod options;
mod process;
mod rng;
mod session;
mod tests;
mod truth;
mod watching;
mod world;
mod writer;

use self::{
    options::Options,
    truth::{Answer, Kind, Operation, Violation},
    world::World,
};

/// The time with faults, in microseconds.
const FAULTY_US: u64 = 4_000_000;

/// The time after the faults in which clients go on: several elections that fail, since the model has no votes before
/// the vote, and requests that wait out their timeout.
const HEALING_US: u64 = 8_000_000;

/// The time in which the nodes catch up after that.
const QUIET_US: u64 = 500_000;

/// The operations of one kind from which on one has to succeed: some clients wait out a timeout first.
const FEW: usize = 8;

/// The report on one schedule.
#[derive(Debug)]
pub struct Report {
    pub faults: u64,
    pub events: u64,
    pub operations: u64,
    /// The number of times that a node has begun to lead.
    pub leaders: u64,
    pub violation: Option<Violation>,
}

/// Runs one schedule.
pub fn run(options: Options) -> Report {
    let mut world = World::new(options);
    world.run(FAULTY_US);
    world.heal();
    let begun = world.truth.operations().len();
    world.run(FAULTY_US + HEALING_US);
    world.clients.are_done = true;
    world.run(FAULTY_US + HEALING_US + QUIET_US);
    if world.truth.violation.is_none() {
        check_convergence(&mut world, begun);
    }
    Report {
        faults: world.faults.count,
        events: world.events,
        operations: world.truth.operations().len() as u64,
        leaders: world.next_tenure - 1,
        violation: world.truth.violation,
    }
}

/// Once all faults are over, the nodes are one store again, and serve everything.
fn check_convergence(world: &mut World, begun: usize) {
    let revision = world.truth.revision();
    for node in 0..world.nodes.len() {
        let state = world.nodes[node].process.index.state;
        if state.revision != revision {
            let reason = format!("node {node} is at {} of {revision}", state.revision);
            world.truth.report(Violation::NoConvergence { reason });
        }
    }
    let after = &world.truth.operations()[begun..];
    // A kind that was hardly asked for tells nothing.
    let succeeds = |is_kind: fn(&Kind) -> bool| {
        let of_kind = after.iter().filter(|operation| is_kind(&operation.kind));
        let is_done = |operation: &&Operation| matches!(operation.answer, Some(Answer::At(_)));
        of_kind.clone().count() < FEW || of_kind.clone().any(|operation| is_done(&operation))
    };
    let served = [
        succeeds(|kind| matches!(kind, Kind::Write { .. })),
        succeeds(|kind| *kind == Kind::Check),
        succeeds(|kind| *kind == Kind::Read),
    ];
    if served != [true; 3] {
        let reason = format!("writes, checks and reads succeed: {served:?}");
        world.truth.report(Violation::NoConvergence { reason });
    }
}
