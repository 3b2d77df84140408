//! The reasons why the cluster could not be changed.

use std::time::Duration;

use crate::{
    client::Error,
    files::FileError,
    wire::{NodeId, Role},
};

#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error(transparent)]
    Client(#[from] Error),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("no node of the cluster has the id {id:x}")]
    NotFound { id: NodeId },
    #[error("the cluster already has a node with this node's id {id:x}, at the address {address}")]
    IdTaken { id: NodeId, address: String },
    #[error("the leader of the cluster already uses the address of this node, {address}")]
    AddressTaken { address: String },
    #[error("the node {id:x} of the cluster already uses the address {address}")]
    AddressInUse { id: NodeId, address: String },
    #[error("this node is still running: it answers at its old address, {address}; stop it there")]
    StillRuns { address: String },
    #[error("the last node of a cluster cannot be removed")]
    LastNode,
    #[error(
        "without the node {id:x}, the voters that are online are not a majority: start the others, \
         or remove those that are lost first"
    )]
    NoMajority { id: NodeId },
    #[error("this node has known no leader for {0:?}: nothing is handed over")]
    Leaderless(Duration),
    #[error("no other voter is online that could become the leader")]
    NoSuccessor,
    #[error("no node took the role {role:?}: {source}")]
    NobodyTook { role: Role, source: Error },
    #[error("the cluster was not changed within {0:?}")]
    TimedOut(Duration),
    /// Other nodes changed the cluster between each look at it and the change that followed.
    #[error("the cluster was still changing after {0} attempts")]
    Unsettled(usize),
    #[error("the node's membership task has ended")]
    Ended,
}
