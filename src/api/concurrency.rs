//! The common part of locks and elections: keys below a name, the oldest of which owns the name.
//!
//! Each client that wants the name puts a key of its own there, `<name>/<lease in hex>`, and waits
//! for the deletion of the next older one. So a change of owner wakes one waiter. The keys and
//! requests are those of clientv3's package `concurrency`, whose users may share a name with ours.

mod entry;

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use etcd_proto::{
    etcdserverpb::{
        Compare, RangeRequest, RangeResponse, ResponseHeader, TxnRequest, TxnResponse, compare,
        range_request::{SortOrder, SortTarget},
    },
    mvccpb::{Event, event::EventType},
};
use etcd_state::{
    auth::{AuthError, Caller},
    mvcc::{KeyRange, LeaseId, Revision},
    requests::{RequestError, check_txn},
};
use tonic::Request;

use super::{Identity, access::Access, lease::random_lease};
use crate::{
    store::Store,
    watch::{FollowError, Follower, Options, WatchHub},
};

pub use self::entry::{Entry, delete_request, operation};

/// The TTL in seconds of the lease that a client gets if it brings none; only the client renews it.
/// As in etcd.
const SESSION_TTL_S: i64 = 60;

/// `api::status` gives each etcd's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecipeError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("the request names no leader")]
    LeaderMissing,
    #[error("nobody is elected")]
    NoLeader,
    #[error("somebody else or nobody is elected")]
    NotLeader,
    #[error("the waiting key is gone")]
    SessionExpired,
}

impl From<AuthError> for RecipeError {
    fn from(error: AuthError) -> Self {
        RecipeError::Request(error.into())
    }
}

impl From<FollowError> for RecipeError {
    fn from(_: FollowError) -> Self {
        RecipeError::Request(RequestError::Stopped)
    }
}

#[derive(Clone)]
pub struct Recipes {
    pub store: Store,
    pub identity: Arc<Identity>,
    pub hub: Arc<WatchHub>,
    pub access: Arc<Access>,
}

impl Recipes {
    pub fn header(&self, revision: Revision) -> Option<ResponseHeader> {
        Some(self.identity.header(revision))
    }

    /// The recipes as the sender of `request` may use them.
    pub fn session<T>(&self, request: &Request<T>) -> Result<Session, RecipeError> {
        let gated = self.access.gate(&self.store);
        let caller = self.access.caller(request)?;
        let sender = caller.as_ref().map(Caller::as_sender).unwrap_or_default();
        Ok(Session {
            caller,
            gated: gated.sent_by(sender),
            store: self.store.clone(),
            hub: self.hub.clone(),
        })
    }
}

/// A client that takes part in a lock or an election.
#[derive(Clone)]
pub struct Session {
    caller: Option<Caller>,
    /// The store for the caller's writes, which are refused if the rules change meanwhile.
    gated: Store,
    store: Store,
    hub: Arc<WatchHub>,
}

impl Session {
    /// Returns `id`, or grants a new lease if that is none.
    pub async fn lease(&self, id: LeaseId) -> Result<LeaseId, RecipeError> {
        if !id.is_none() {
            return Ok(id);
        }
        if let Some(caller) = &self.caller {
            caller.check_user()?;
        }
        let id = random_lease();
        self.gated.lease_grant(id, SESSION_TTL_S).await?;
        Ok(id)
    }

    pub async fn txn(&self, txn: TxnRequest) -> Result<TxnResponse, RecipeError> {
        if let Some(caller) = &self.caller {
            check_txn(&txn, self.store.limits().max_txn_operations)?;
            caller.check_txn(&txn, &|id| self.store.leased_keys(id))?;
        }
        Ok(self.gated.txn(txn).await?)
    }

    /// Reads what is committed anywhere.
    pub async fn read(&self, range: &RangeRequest) -> Result<RangeResponse, RecipeError> {
        self.store.linearize().await?;
        self.range(range)
    }

    /// Reads what this node has, which is everything that it has told this client of.
    pub fn range(&self, range: &RangeRequest) -> Result<RangeResponse, RecipeError> {
        if let Some(caller) = &self.caller {
            caller.check_read(&range.key, &range.range_end)?;
        }
        Ok(self.store.range(range)?)
    }

    /// Waits until no key below `prefix` is older than the one that was created at `revision`.
    pub async fn wait_for_turn(
        &self,
        prefix: &Prefix,
        revision: Revision,
    ) -> Result<(), RecipeError> {
        loop {
            let older = self.range(&prefix.youngest_before(revision))?;
            let Some(next) = older.kvs.first() else {
                return Ok(());
            };
            let range = KeyRange::new(next.key.clone(), Bytes::new());
            let only_deletions = Options {
                no_put: true,
                ..Options::default()
            };
            let mut follower = self.follow(range, revision_of(&older).next(), only_deletions)?;
            match follower.next().await {
                Ok(_) | Err(FollowError::Lost) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub fn follow(
        &self,
        range: KeyRange,
        from: Revision,
        options: Options,
    ) -> Result<Follower, FollowError> {
        Follower::new(&self.hub, range, from, options)
    }
}

/// The prefix of the keys of a name.
#[derive(Debug, Clone)]
pub struct Prefix(Bytes);

impl Prefix {
    pub fn new(name: &[u8]) -> Self {
        let mut prefix = BytesMut::with_capacity(name.len() + 1);
        prefix.put_slice(name);
        prefix.put_u8(b'/');
        Self(prefix.freeze())
    }

    pub fn key(&self, lease: LeaseId) -> Bytes {
        let number = lease.number();
        let sign = if number < 0 { "-" } else { "" };
        let suffix = format!("{sign}{:x}", number.unsigned_abs());
        [&self.0, suffix.as_bytes()].concat().into()
    }

    fn end(&self) -> Bytes {
        let mut end = self.0.to_vec();
        end.pop();
        end.push(b'/' + 1);
        end.into()
    }

    pub fn range(&self) -> KeyRange {
        KeyRange::new(self.0.clone(), self.end())
    }

    /// The key of the owner.
    pub fn oldest(&self) -> RangeRequest {
        self.first(SortOrder::Ascend)
    }

    fn youngest_before(&self, revision: Revision) -> RangeRequest {
        RangeRequest {
            max_create_revision: revision.previous().number(),
            keys_only: true,
            ..self.first(SortOrder::Descend)
        }
    }

    fn first(&self, order: SortOrder) -> RangeRequest {
        RangeRequest {
            key: self.0.clone(),
            range_end: self.end(),
            limit: 1,
            sort_order: order.into(),
            sort_target: SortTarget::Create.into(),
            ..Default::default()
        }
    }
}

/// Compares whether `key` was created at `revision`, or does not exist if that is 0.
pub fn is_created_at(key: Bytes, revision: Revision) -> Compare {
    Compare {
        result: compare::CompareResult::Equal.into(),
        target: compare::CompareTarget::Create.into(),
        key,
        target_union: Some(compare::TargetUnion::CreateRevision(revision.number())),
        ..Default::default()
    }
}

pub fn revision_of(response: &RangeResponse) -> Revision {
    let header = response.header.as_ref();
    header.map_or(Revision::NONE, |header| Revision::new(header.revision))
}

pub fn is_deletion(event: &Event) -> bool {
    event.r#type == i32::from(EventType::Delete)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_ends_in_the_lease_in_hex_as_go_prints_it() {
        let prefix = Prefix::new(b"name");
        assert_eq!(prefix.key(LeaseId::new(0x1fe)), "name/1fe");
        assert_eq!(prefix.key(LeaseId::new(-5)), "name/-5");
        assert_eq!(prefix.key(LeaseId::new(i64::MIN)), "name/-8000000000000000");
        assert_eq!(Prefix::new(b"").key(LeaseId::new(1)), "/1");
    }

    #[test]
    fn keys_of_longer_names_are_not_below_a_name() {
        let range = Prefix::new(b"name").range();
        assert!(range.contains(b"name/1"));
        assert!(range.contains(b"name/sub/1"));
        assert!(!range.contains(b"name"));
        assert!(!range.contains(b"name2/1"));
    }
}
