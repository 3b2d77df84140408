//! The decisions by which several nodes are one store, without I/O: time comes in as an argument, and what is to be done
//! goes out as commands. `src/cluster/peer` carries them out.
//!
//! Map: `view` (who leads) · `monitor` (finds out who leads) · `coordinator` (leads, follows or waits) · `proofs`, `reads`
//! (linearizable reads) · `feed` (what a leader sends to a follower) · `intake` (how that applies it) · `forwarded` (what
//! it has asked the leader for). `simulator` runs all of them for several nodes on a model of the engine, under faults; it
//! is part of the tests.
#![forbid(unsafe_code)]

pub mod coordinator;
pub mod feed;
pub mod forwarded;
pub mod intake;
pub mod monitor;
pub mod proofs;
pub mod reads;
#[cfg(test)]
mod simulator;
mod view;

pub use self::{
    feed::{Beginning, Feed, Flush, StoreState},
    forwarded::Forwarded,
    intake::Intake,
    view::View,
};
