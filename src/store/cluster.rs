//! The part of the cluster that the store needs to know.

use std::{pin::Pin, time::Duration};

use etcd_state::requests::RequestError;

pub type Confirmed<'a> = Pin<Box<dyn Future<Output = Result<(), RequestError>> + Send + 'a>>;

/// Answers the question that every linearizable read has: is what this node holds now everything
/// that was committed before the question?
pub trait Cluster: Send + Sync + 'static {
    /// Returns whether no other node can have committed anything. Cheap: called for every read.
    fn is_alone(&self) -> bool;

    /// Returns whether there is no other node, as far as this one last knew. Such a node may be out
    /// of touch with its engine, but needs nobody else to learn the outcome of its writes.
    fn is_single(&self) -> bool;

    /// Returns whether this node takes the writes.
    fn leads(&self) -> bool;

    /// Returns a number that is another one each time this node begins to take the writes; none while
    /// it does not.
    fn reign(&self) -> Option<u64> {
        self.leads().then_some(0)
    }

    /// Returns whether some node takes the writes, as far as this node knows.
    fn has_leader(&self) -> bool;

    /// Returns how often this node has seen a new leader.
    fn leader_changes(&self) -> u64;

    /// Returns how long the engine of this node has not answered.
    fn engine_silent_for(&self) -> Duration {
        Duration::ZERO
    }

    /// Waits until the index of this node holds all that was committed before the call.
    fn confirm(&self) -> Confirmed<'_>;
}

/// A cluster that has one node and gets no others.
#[derive(Debug, Default)]
pub struct Alone;

impl Cluster for Alone {
    fn is_alone(&self) -> bool {
        true
    }

    fn is_single(&self) -> bool {
        true
    }

    fn leads(&self) -> bool {
        true
    }

    fn has_leader(&self) -> bool {
        true
    }

    fn leader_changes(&self) -> u64 {
        1
    }

    fn confirm(&self) -> Confirmed<'_> {
        Box::pin(std::future::ready(Ok(())))
    }
}
