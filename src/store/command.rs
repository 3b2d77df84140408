//! What the writer is asked to do, and what it answers.

use etcd_proto::etcdserverpb::{
    AlarmMember, AlarmRequest, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
    TxnRequest, TxnResponse,
};
use tokio::sync::oneshot;

use super::RequestError;
use crate::{
    lease::LeaseView,
    mvcc::{LeaseId, Revision},
};

/// A request that must take its place in the order of writes.
#[derive(Debug)]
pub enum Command {
    Put(PutRequest),
    DeleteRange(DeleteRangeRequest),
    Txn(TxnRequest),
    LeaseGrant {
        id: LeaseId,
        ttl_s: i64,
    },
    LeaseRevoke {
        id: LeaseId,
    },
    /// The lease has its full TTL again, but the database says that less is left.
    LeaseRenewed {
        id: LeaseId,
        ttl_s: i64,
    },
    LeaseTimeToLive {
        id: LeaseId,
        with_keys: bool,
    },
    LeaseList,
    Compact {
        revision: Revision,
        /// Answer only when the rows are deleted.
        physical: bool,
    },
    Alarm(AlarmRequest),
    /// Reads the page counts from the engine.
    Pages,
    /// Gives free pages of the database back.
    Defragment,
}

#[derive(Debug)]
pub enum Reply {
    Put(PutResponse),
    DeleteRange(DeleteRangeResponse),
    Txn(TxnResponse),
    LeaseGranted { ttl_s: i64 },
    LeaseRevoked,
    LeaseRenewed,
    LeaseTimeToLive(Option<LeaseView>),
    LeaseList(Vec<LeaseId>),
    Compacted,
    Alarm(Vec<AlarmMember>),
    Pages(super::Pages),
    Defragmented,
}

pub type ReplySender = oneshot::Sender<Result<Reply, RequestError>>;

#[derive(Debug)]
pub struct Submission {
    pub command: Command,
    pub reply: ReplySender,
    /// What it holds in the queue.
    pub weight_bytes: usize,
}
