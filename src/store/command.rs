//! What the writer is asked to do, and what it answers.

use etcd_proto::etcdserverpb::{
    AlarmMember, AlarmRequest, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
    TxnRequest, TxnResponse,
};
use tokio::sync::oneshot;

use super::RequestError;
use crate::{
    auth,
    lease::{LeaseCopy, LeaseView},
    mvcc::{LeaseId, Revision},
    settings::Settings,
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
    /// Its time is over, and somebody wants it still.
    LeaseExpire {
        id: LeaseId,
    },
    /// Gives a lease its full TTL again.
    LeaseKeepAlive {
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
    /// What is beside the keys, and the revision that it belongs to.
    Copy,
    Compact {
        revision: Revision,
        /// Answer only when the rows are deleted.
        physical: bool,
    },
    Alarm(AlarmRequest),
    Auth(auth::Change),
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
    LeaseGranted {
        ttl_s: i64,
    },
    LeaseRevoked,
    LeaseRenewed,
    /// The TTL; none if there is no such lease, or its time is over.
    LeaseKept(Option<i64>),
    LeaseTimeToLive(Option<LeaseView>),
    LeaseList(Vec<LeaseId>),
    Copy {
        revision: Revision,
        leases: Vec<LeaseCopy>,
        settings: Settings,
    },
    Compacted,
    Alarm(Vec<AlarmMember>),
    AuthChanged,
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
