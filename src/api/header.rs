//! The header of every response.

use std::sync::atomic::{AtomicU64, Ordering};

use etcd_proto::etcdserverpb::ResponseHeader;
use etcd_state::mvcc::Revision;

/// The node that answers: the constant part of a response header, and the current Raft term.
#[derive(Debug)]
pub struct Identity {
    pub cluster_id: u64,
    pub member_id: u64,
    raft_term: AtomicU64,
}

impl Identity {
    pub fn new(cluster_id: u64, member_id: u64, raft_term: u64) -> Self {
        Self {
            cluster_id,
            member_id,
            raft_term: AtomicU64::new(raft_term),
        }
    }

    pub fn raft_term(&self) -> u64 {
        self.raft_term.load(Ordering::Relaxed)
    }

    pub fn set_raft_term(&self, term: u64) {
        self.raft_term.store(term, Ordering::Relaxed);
    }

    pub fn header(&self, revision: Revision) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.cluster_id,
            member_id: self.member_id,
            revision: revision.number(),
            raft_term: self.raft_term(),
        }
    }
}
