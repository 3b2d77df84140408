//! The commands that the writer takes, each with the type of its reply.

use std::fmt::Debug;

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

use super::{
    Pages,
    reply::{Committed, PreparedReply, ReplySender},
};

/// A request that must take its place in the order of writes.
pub trait Request: Debug + Clone + Sized + Send + Sync + 'static {
    type Reply: Debug + Send + Sync + 'static;

    /// The name of its span: etcd's name, where etcd has one.
    const NAME: &'static str;

    fn into_command(self, reply: ReplySender<Self::Reply>) -> Command;
}

/// A request, and the sender of its reply.
#[derive(Debug)]
pub struct Call<R: Request> {
    pub request: R,
    pub reply: ReplySender<R::Reply>,
}

impl<R: Request> Call<R> {
    /// Decides the reply, which is sent later.
    pub fn answer(self, decide: impl FnOnce(R) -> Result<R::Reply, RequestError>) -> PreparedReply {
        PreparedReply::new(self.reply, decide(self.request))
    }
}

/// Defines [`Command`] from a table: the command, its request, the type of its reply, its name.
macro_rules! commands {
    ($($(#[$doc:meta])* $command:ident($request:ty) -> $reply:ty, $name:literal;)+) => {
        /// A request of any kind on its way to the writer.
        #[derive(Debug)]
        pub enum Command {
            $($(#[$doc])* $command(Call<$request>),)+
        }

        impl Command {
            /// Returns whether nobody waits for the reply any more.
            pub fn is_abandoned(&self) -> bool {
                match self {
                    $(Self::$command(call) => call.reply.is_closed(),)+
                }
            }

            pub fn refused(self, error: RequestError) -> PreparedReply {
                match self {
                    $(Self::$command(call) => call.answer(|_| Err(error)),)+
                }
            }
        }

        $(impl Request for $request {
            type Reply = $reply;

            const NAME: &'static str = $name;

            fn into_command(self, reply: ReplySender<Self::Reply>) -> Command {
                Command::$command(Call { request: self, reply })
            }
        })+
    };
}

commands! {
    Put(PutRequest) -> PutResponse, "put";
    DeleteRange(DeleteRangeRequest) -> DeleteRangeResponse, "delete_range";
    Txn(TxnRequest) -> TxnResponse, "txn";
    /// Replies with the TTL that was granted.
    LeaseGrant(LeaseGrant) -> Committed<i64>, "lease_grant";
    /// The revision is that at which the keys were deleted.
    LeaseRevoke(LeaseRevoke) -> Committed<()>, "lease_revoke";
    LeaseExpire(LeaseExpire) -> (), "lease_expire";
    /// Replies with the TTL; none if there is no such lease, or its time is over.
    LeaseKeepAlive(LeaseKeepAlive) -> Option<i64>, "lease_keep_alive";
    LeaseRenewed(LeaseRenewed) -> (), "lease_keep_alive";
    /// Replies with none if there is no such lease.
    LeaseTimeToLive(LeaseTimeToLive) -> Option<LeaseView>, "lease_time_to_live";
    LeaseList(LeaseList) -> Vec<LeaseId>, "lease_leases";
    Copy(ReadSnapshotState) -> SnapshotState, "copy";
    Compact(Compact) -> Committed<()>, "compact";
    /// Replies with the alarms that it was about.
    Alarm(AlarmRequest) -> Committed<Vec<AlarmMember>>, "alarm";
    Auth(auth::Change) -> Committed<()>, "auth";
    Publish(Publish) -> (), "publish";
    Pages(ReadPages) -> Pages, "pages";
    Defragment(Defragment) -> (), "defragment";
}

#[derive(Debug, Clone)]
pub struct LeaseGrant {
    pub id: LeaseId,
    pub ttl_s: i64,
}

#[derive(Debug, Clone)]
pub struct LeaseRevoke {
    pub id: LeaseId,
}

/// Ends a lease whose time is over, because a client wants to renew it.
#[derive(Debug, Clone)]
pub struct LeaseExpire {
    pub id: LeaseId,
}

/// Gives a lease its full TTL again.
#[derive(Debug, Clone)]
pub struct LeaseKeepAlive {
    pub id: LeaseId,
}

/// Says that the lease has its full TTL again, while the database says that less is left.
#[derive(Debug, Clone)]
pub struct LeaseRenewed {
    pub id: LeaseId,
    pub ttl_s: i64,
}

#[derive(Debug, Clone)]
pub struct LeaseTimeToLive {
    pub id: LeaseId,
    pub with_keys: bool,
}

#[derive(Debug, Clone)]
pub struct LeaseList;

/// Reads the content of a snapshot beside the keys.
#[derive(Debug, Clone)]
pub struct ReadSnapshotState;

/// The content of a snapshot beside the keys, and the revision that it belongs to.
#[derive(Debug)]
pub struct SnapshotState {
    pub revision: Revision,
    pub leases: Vec<LeaseCopy>,
    pub settings: Settings,
}

#[derive(Debug, Clone)]
pub struct Compact {
    pub revision: Revision,
    /// Answer only when the rows are deleted.
    pub physical: bool,
}

/// Stores the client URLs of a member. Without any, the member is forgotten.
#[derive(Debug, Clone)]
pub struct Publish {
    pub member_id: u64,
    pub client_urls: Vec<String>,
}

/// Reads the page counts from the engine.
#[derive(Debug, Clone)]
pub struct ReadPages;

/// Gives free pages of the database back.
#[derive(Debug, Clone)]
pub struct Defragment;

#[derive(Debug)]
pub struct Submission {
    pub command: Command,
    /// The revision of the rules that let the request in; none for what the server does by itself.
    pub auth_revision: Option<u64>,
    /// The bytes that the request holds in the queue.
    pub weight_bytes: usize,
    /// Another node has it from its client: it is not for a third one.
    pub is_forwarded: bool,
    /// The number of times that a leader has returned it.
    pub returns: u8,
}
