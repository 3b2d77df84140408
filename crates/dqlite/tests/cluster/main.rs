//! Nodes that form a cluster: real engines, each with its own port on loopback.

mod handover;
mod histories;
mod join;
mod node;
#[path = "../port/pair.rs"]
#[allow(dead_code)]
mod pair;
mod process;
mod remove;
mod reuse;
