//! Makes one store of several nodes: finds the leader, sends committed changes to followers, and forwards
//! requests to the leader.
//!
//! One stream between each follower and the leader carries everything, in order: commits down, writes
//! up, answers down, and the questions by which linearizable reads are proven. Consensus itself is the
//! engine's; nothing here is committed that the engine has not committed.
//!
//! The crate `replication` decides, without I/O; the tasks here ask, send, and carry out its commands.
//!
//! Invariants: the index of a node is always a prefix of what is committed. A request that may have
//! reached a leader's writer is never forwarded a second time. A linearizable read waits for a
//! proof that was begun after it arrived.

mod convert;
mod decisions;
mod dial;
mod engine;
mod errors;
mod follow;
mod incompatible_nodes;
mod lead;
mod leader_loss;
mod log_ends;
mod monitor;
mod node_info;
mod nodes;
mod reads;
mod replica;
mod requests;
mod rows;
mod serve;
mod service;
mod tenure;

pub use self::{
    dial::{Dialer, NotMade},
    log_ends::{Found, Remembered, has_lost},
    monitor::ClusterView,
    node_info::{DISK_IS_LOW, OwnFiles, details},
    nodes::{NodeOptions, Nodes},
    reads::Reads,
    replica::CoordinatorError,
    serve::PeerPort,
};
use self::{engine::EngineView, incompatible_nodes::IncompatibleNodes};
