//! The commands that the writer takes, and its replies.

use std::{sync::Arc, time::Instant};

use etcd_proto::etcdserverpb::{
    AlarmMember, AlarmRequest, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
    TxnRequest, TxnResponse,
};
use etcd_state::{
    auth,
    lease::{LeaseCopy, LeaseView},
    mvcc::{LeaseId, Revision},
    requests::RequestError,
    settings::Settings,
};
use telemetry::tracing::{Forwarding, Timeline};
use tokio::sync::oneshot;

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
    /// Ends a lease whose time is over, because a client wants to renew it.
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
    /// Reads all that is stored beside the keys, and the revision that it belongs to.
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

impl Command {
    /// The name of its span: etcd's name, where etcd has one.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Put(_) => "put",
            Self::DeleteRange(_) => "delete_range",
            Self::Txn(_) => "txn",
            Self::LeaseGrant { .. } => "lease_grant",
            Self::LeaseRevoke { .. } => "lease_revoke",
            Self::LeaseExpire { .. } => "lease_expire",
            Self::LeaseKeepAlive { .. } | Self::LeaseRenewed { .. } => "lease_keep_alive",
            Self::LeaseTimeToLive { .. } => "lease_time_to_live",
            Self::LeaseList => "lease_leases",
            Self::Copy => "copy",
            Self::Compact { .. } => "compact",
            Self::Alarm(_) => "alarm",
            Self::Auth(_) => "auth",
            Self::Pages => "pages",
            Self::Defragment => "defragment",
        }
    }
}

#[derive(Debug)]
pub enum Reply {
    Put(PutResponse),
    DeleteRange(DeleteRangeResponse),
    Txn(TxnResponse),
    LeaseGranted {
        ttl_s: i64,
    },
    LeaseRevoked {
        revision: Revision,
    },
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

/// Sends the reply to a request, and keeps the record of what the request waits for.
#[derive(Debug)]
pub struct ReplySender {
    sender: oneshot::Sender<Result<Reply, RequestError>>,
    timeline: Option<Arc<Timeline>>,
    /// The span of the request to another node, which ends with the reply.
    forwarding: Option<Forwarding>,
}

/// The error for a reply that nobody waits for any more.
#[derive(Debug)]
pub struct Gone;

impl ReplySender {
    pub fn new(
        sender: oneshot::Sender<Result<Reply, RequestError>>,
        timeline: Option<Arc<Timeline>>,
    ) -> Self {
        Self {
            sender,
            timeline,
            forwarding: None,
        }
    }

    pub fn send(self, answer: Result<Reply, RequestError>) -> Result<(), Gone> {
        self.sender.send(answer).map_err(|_| Gone)
    }

    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub fn timeline(&self) -> Option<&Timeline> {
        self.timeline.as_deref()
    }

    /// Notes that another node is asked. Returns the trace context that it is to continue, or an
    /// empty string.
    pub fn note_forwarded(&mut self) -> String {
        let Some(timeline) = &self.timeline else {
            return String::new();
        };
        timeline.forwarded(Instant::now());
        self.forwarding = Forwarding::begin(timeline);
        let forwarding = self.forwarding.as_ref();
        forwarding.map_or_else(String::new, Forwarding::traceparent)
    }
}

#[derive(Debug)]
pub struct Submission {
    pub command: Command,
    /// The revision of the rules that let the request in; none for what the server does by itself.
    pub auth_revision: Option<u64>,
    pub reply: ReplySender,
    /// The bytes that the request holds in the queue.
    pub weight_bytes: usize,
}
