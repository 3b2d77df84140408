//! The pair of the nodes, replaced while they run: each node trusts the old and the new one before any uses the new one, and
//! all use that before the old one is dropped.
//!
//! Owns the steps of one node ([`NodeCertificates`]), and what all of them need next ([`next`], pure). Whoever holds the
//! cluster's pair may ask a node for a step, over the connection that both sides have proven to hold it on: the new key
//! travels nowhere else, and is in no log.
//!
//! Invariant: a step is asked for only when every node of the cluster has made the one before. So whatever stops, and for
//! however long, the nodes understand each other, and the same command goes on.

mod node;
mod plan;

pub use self::{
    node::{NodeCertificates, STILL_TRUSTED, StepError},
    plan::{Conflict, Next, NodeState, cancel, next},
};
