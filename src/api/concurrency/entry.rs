//! The key of a client that waits for a name, or owns it.

use bytes::Bytes;
use etcd_proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, ResponseOp, TxnRequest, TxnResponse,
    request_op, response_op,
};
use etcd_proto::mvccpb::KeyValue;
use etcd_state::{
    mvcc::{LeaseId, Revision},
    requests::RequestError,
};

use super::{Prefix, RecipeError, Session, is_created_at};
use crate::store::Store;

/// A key below a name. It is deleted when this is dropped, unless it is kept: a client that leaves
/// must not block those behind it.
pub struct Entry {
    pub key: Bytes,
    /// The revision that created the key.
    pub revision: Revision,
    /// The revision at which this was read.
    pub read_revision: Revision,
    /// The value that the key had, if this session had put it before.
    pub found: Option<Bytes>,
    /// True if there was no older key.
    pub is_oldest: bool,
    store: Store,
    is_left_behind: bool,
}

impl Session {
    /// Puts the key of `lease` below `prefix`, or finds it there.
    pub async fn enter(
        &self,
        prefix: &Prefix,
        lease: LeaseId,
        value: Bytes,
    ) -> Result<Entry, RecipeError> {
        let session = self.clone();
        let key = prefix.key(lease);
        let txn = enter_request(prefix, &key, lease, value);
        // A task goes on when the client leaves meanwhile, and then drops the entry.
        let entering = tokio::spawn(async move {
            let response = session.txn(txn).await?;
            Ok(Entry::new(session.store, key, response))
        });
        // An error means that the runtime ends.
        let stopped = RecipeError::Request(RequestError::Stopped);
        entering.await.unwrap_or(Err(stopped))
    }
}

fn enter_request(prefix: &Prefix, key: &Bytes, lease: LeaseId, value: Bytes) -> TxnRequest {
    let put = request_op::Request::RequestPut(PutRequest {
        key: key.clone(),
        value,
        lease: lease.number(),
        ..Default::default()
    });
    let get = request_op::Request::RequestRange(RangeRequest {
        key: key.clone(),
        ..Default::default()
    });
    let owner = || request_op::Request::RequestRange(prefix.oldest());
    TxnRequest {
        compare: vec![is_created_at(key.clone(), Revision::NONE)],
        success: vec![operation(put), operation(owner())],
        failure: vec![operation(get), operation(owner())],
    }
}

pub fn operation(request: request_op::Request) -> RequestOp {
    RequestOp {
        request: Some(request),
    }
}

impl Entry {
    fn new(store: Store, key: Bytes, response: TxnResponse) -> Self {
        let read_revision = response
            .header
            .map_or(Revision::NONE, |header| Revision::new(header.revision));
        let is_new = response.succeeded;
        let mut answers = response.responses.into_iter().map(first_found);
        let found = answers.next().flatten();
        let owner = answers.next().flatten();
        let revision = match &found {
            Some(found) => Revision::new(found.create_revision),
            None => read_revision,
        };
        let is_oldest = owner.is_none_or(|owner| owner.create_revision == revision.number());
        Self {
            key,
            revision,
            read_revision,
            found: found.map(|found| found.value),
            is_oldest,
            store,
            // What owned the name before stays its owner.
            is_left_behind: !is_new && is_oldest,
        }
    }

    /// Leaves the key to its lease.
    pub fn keep(mut self) {
        self.is_left_behind = true;
    }

    pub async fn delete(mut self) {
        if !std::mem::replace(&mut self.is_left_behind, true) {
            // If this fails, the key goes with its lease.
            let _ = self.store.txn(self.delete_request()).await;
        }
    }

    fn delete_request(&self) -> TxnRequest {
        delete_request(self.key.clone(), self.revision)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.is_left_behind {
            return;
        }
        let (store, request) = (self.store.clone(), self.delete_request());
        // No runtime is left at the very end of the process.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { store.txn(request).await });
        }
    }
}

/// Returns the transaction that deletes a key unless it was created again meanwhile.
pub fn delete_request(key: Bytes, revision: Revision) -> TxnRequest {
    let delete = request_op::Request::RequestDeleteRange(DeleteRangeRequest {
        key: key.clone(),
        ..Default::default()
    });
    TxnRequest {
        compare: vec![is_created_at(key, revision)],
        success: vec![operation(delete)],
        failure: Vec::new(),
    }
}

fn first_found(answer: ResponseOp) -> Option<KeyValue> {
    match answer.response {
        Some(response_op::Response::ResponseRange(range)) => range.kvs.into_iter().next(),
        _ => None,
    }
}
