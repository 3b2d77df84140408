//! Decides what a write does: evaluates one request against the head and what is already in the
//! batch. Pure but for the lease table, which moves along.
//!
//! A request is validated as a whole before it changes anything, so that it takes effect as a whole
//! or not at all. The semantics are those of etcd's `server/etcdserver/txn`.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use etcd_proto::etcdserverpb::{
    Compare, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest,
    RangeResponse, RequestOp, ResponseOp, TxnRequest, TxnResponse,
    compare::{CompareResult, CompareTarget, TargetUnion},
    request_op::Request,
    response_op::Response,
};

use super::{
    RequestError,
    range::{self, revision_header, to_proto},
};
use crate::{
    lease::LeaseTable,
    mvcc::{
        Change, ChangeKind, Commit, History, KeyRange, KeyValue, LeaseId, MAX_POSITION, Revision,
        Snapshot, Tree,
    },
};

/// The state that the next request sees: the head, and on top of it all that was evaluated since.
pub struct Working {
    pub tree: Tree,
    pub revision: Revision,
}

/// The numbers of operations that a request ran, whether they changed anything or not.
#[derive(Debug, Default, Clone, Copy)]
pub struct Operations {
    pub ranges: u64,
    pub puts: u64,
    pub deletes: u64,
}

/// Evaluates one request. Changes pile up here and go into the batch as one commit.
pub struct Evaluation<'a> {
    working: &'a mut Working,
    leases: &'a mut LeaseTable,
    history: &'a History,
    changes: Vec<Change>,
    /// The past states that the ranges of a transaction read, in their order.
    past: VecDeque<Arc<Snapshot>>,
    operations: Operations,
}

impl<'a> Evaluation<'a> {
    pub fn new(working: &'a mut Working, leases: &'a mut LeaseTable, history: &'a History) -> Self {
        Self {
            working,
            leases,
            history,
            changes: Vec::new(),
            past: VecDeque::new(),
            operations: Operations::default(),
        }
    }

    pub fn operations(&self) -> Operations {
        self.operations
    }

    /// Returns the changes as a commit, for which it takes the next revision, or `None` if nothing
    /// changed.
    pub fn finish(self) -> Option<Arc<Commit>> {
        if self.changes.is_empty() {
            return None;
        }
        self.working.revision = self.working.revision.next();
        Some(Arc::new(Commit {
            revision: self.working.revision,
            changes: self.changes,
        }))
    }

    pub fn put(&mut self, request: &PutRequest) -> Result<PutResponse, RequestError> {
        self.check_lease(request)?;
        self.check_previous(request)?;
        Ok(self.execute_put(request))
    }

    pub fn delete_range(
        &mut self,
        request: &DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, RequestError> {
        if self.deletions(request) > MAX_POSITION as usize {
            return Err(RequestError::TooManyOperations);
        }
        Ok(self.execute_delete_range(request))
    }

    pub fn txn(&mut self, request: &TxnRequest) -> Result<TxnResponse, RequestError> {
        // All comparisons, nested ones too, see the state before the transaction.
        let mut path = Vec::new();
        self.choose(request, &mut path);
        let mut changes = 0;
        self.check_txn(request, &mut path.iter(), &mut changes)?;
        if changes > MAX_POSITION as usize {
            return Err(RequestError::TooManyOperations);
        }
        let before = self.working.tree.clone();
        let mut response = self.execute_txn(request, &mut path.iter(), &before);
        response.header = revision_header(self.reported_revision());
        Ok(response)
    }

    /// Deletes the keys of a lease that was taken out of the table.
    pub fn delete_keys(&mut self, keys: impl IntoIterator<Item = Bytes>) {
        for key in keys {
            self.operations.deletes += 1;
            self.delete_key(&key);
        }
    }

    /// The revision that a response carries at this point of the request.
    fn reported_revision(&self) -> Revision {
        match self.changes.is_empty() {
            true => self.working.revision,
            false => self.working.revision.next(),
        }
    }

    fn choose(&self, request: &TxnRequest, path: &mut Vec<bool>) {
        let succeeded = request.compare.iter().all(|compare| self.compare(compare));
        path.push(succeeded);
        for operation in branch(request, succeeded) {
            if let Some(Request::RequestTxn(txn)) = &operation.request {
                self.choose(txn, path);
            }
        }
    }

    fn compare(&self, compare: &Compare) -> bool {
        if compare.range_end.is_empty() {
            return match self.working.tree.get(&compare.key) {
                Some(kv) => compare_key_value(compare, kv),
                None => compare_missing(compare),
            };
        }
        let range = KeyRange::new(compare.key.clone(), compare.range_end.clone());
        let mut kvs = self.working.tree.range(&range).peekable();
        if range.is_empty() || kvs.peek().is_none() {
            return compare_missing(compare);
        }
        kvs.all(|kv| compare_key_value(compare, kv))
    }

    fn check_txn(
        &mut self,
        request: &TxnRequest,
        path: &mut std::slice::Iter<'_, bool>,
        changes: &mut usize,
    ) -> Result<(), RequestError> {
        let succeeded = *path.next().expect("one entry for each transaction");
        for operation in branch(request, succeeded) {
            match &operation.request {
                Some(Request::RequestRange(range)) => self.check_range(range)?,
                Some(Request::RequestPut(put)) => {
                    // The order decides which error is told.
                    self.check_lease(put)?;
                    self.check_previous(put)?;
                    *changes += 1;
                }
                Some(Request::RequestDeleteRange(delete)) => *changes += self.deletions(delete),
                Some(Request::RequestTxn(txn)) => self.check_txn(txn, path, changes)?,
                None => {}
            }
        }
        Ok(())
    }

    fn check_range(&mut self, request: &RangeRequest) -> Result<(), RequestError> {
        let revision = Revision::new(request.revision);
        if revision.is_none() || revision == self.working.revision {
            return Ok(());
        }
        if revision < Revision::NONE {
            // Not outside of a transaction, and not before the first compaction: etcd's own quirk.
            let is_compacted = revision < self.history.compact_revision();
            return if is_compacted {
                Err(RequestError::Compacted)
            } else {
                Ok(())
            };
        }
        self.past.push_back(self.history.at(revision)?);
        Ok(())
    }

    fn check_lease(&self, request: &PutRequest) -> Result<(), RequestError> {
        let lease = LeaseId::new(request.lease);
        if !lease.is_none() && !self.leases.contains(lease) {
            return Err(RequestError::LeaseNotFound);
        }
        Ok(())
    }

    fn check_previous(&self, request: &PutRequest) -> Result<(), RequestError> {
        let needs_previous = request.ignore_value || request.ignore_lease;
        if needs_previous && self.working.tree.get(&request.key).is_none() {
            return Err(RequestError::KeyNotFound);
        }
        Ok(())
    }

    fn deletions(&self, request: &DeleteRangeRequest) -> usize {
        if request.range_end.is_empty() {
            return 1;
        }
        let range = KeyRange::new(request.key.clone(), request.range_end.clone());
        if range.is_empty() {
            0
        } else {
            self.working.tree.count(&range)
        }
    }

    fn execute_txn(
        &mut self,
        request: &TxnRequest,
        path: &mut std::slice::Iter<'_, bool>,
        before: &Tree,
    ) -> TxnResponse {
        let succeeded = *path.next().expect("one entry for each transaction");
        let operations = branch(request, succeeded);
        let mut responses = Vec::with_capacity(operations.len());
        for operation in operations {
            let response = match &operation.request {
                Some(Request::RequestRange(range)) => {
                    Response::ResponseRange(self.execute_range(range, before))
                }
                Some(Request::RequestPut(put)) => Response::ResponsePut(self.execute_put(put)),
                Some(Request::RequestDeleteRange(delete)) => {
                    Response::ResponseDeleteRange(self.execute_delete_range(delete))
                }
                Some(Request::RequestTxn(txn)) => {
                    let mut response = self.execute_txn(txn, path, before);
                    response.header = Some(Default::default());
                    Response::ResponseTxn(response)
                }
                None => continue,
            };
            responses.push(ResponseOp {
                response: Some(response),
            });
        }
        TxnResponse {
            header: None,
            succeeded,
            responses,
        }
    }

    fn execute_range(&mut self, request: &RangeRequest, before: &Tree) -> RangeResponse {
        self.operations.ranges += 1;
        let revision = self.reported_revision();
        if request.revision <= 0 {
            range::range(&self.working.tree, request, revision)
        } else if request.revision == self.working.revision.number() {
            range::range(before, request, revision)
        } else {
            let snapshot = self.past.pop_front().expect("one for each such range");
            range::range(&snapshot.tree, request, revision)
        }
    }

    fn execute_put(&mut self, request: &PutRequest) -> PutResponse {
        self.operations.puts += 1;
        let prev = self.working.tree.get(&request.key).cloned();
        let (value, lease) = match &prev {
            Some(prev) => (
                if request.ignore_value {
                    &prev.value
                } else {
                    &request.value
                },
                if request.ignore_lease {
                    prev.lease
                } else {
                    LeaseId::new(request.lease)
                },
            ),
            None => (&request.value, LeaseId::new(request.lease)),
        };
        let (key, value) = own(&request.key, value, prev.as_deref());
        let revision = self.working.revision.next();
        let kv = Arc::new(KeyValue {
            key,
            value,
            create_revision: prev.as_ref().map_or(revision, |prev| prev.create_revision),
            mod_revision: revision,
            version: prev.as_ref().map_or(1, |prev| prev.version + 1),
            lease,
            position: self.changes.len() as u32,
        });
        let prev_lease = prev.as_ref().map_or(LeaseId::NONE, |prev| prev.lease);
        self.move_lease(prev_lease, lease, &kv.key);
        let response = PutResponse {
            header: revision_header(revision),
            prev_kv: prev.as_deref().filter(|_| request.prev_kv).map(to_proto),
        };
        self.working.tree.insert(kv.clone());
        self.changes.push(Change {
            kind: ChangeKind::Put,
            kv,
            prev,
        });
        response
    }

    fn execute_delete_range(&mut self, request: &DeleteRangeRequest) -> DeleteRangeResponse {
        self.operations.deletes += 1;
        let range = KeyRange::new(request.key.clone(), request.range_end.clone());
        let doomed: Vec<Arc<KeyValue>> = match &range {
            KeyRange::Single(key) => self.working.tree.get(key).cloned().into_iter().collect(),
            range if range.is_empty() => Vec::new(),
            range => self.working.tree.range(range).cloned().collect(),
        };
        for kv in &doomed {
            self.delete_key(&kv.key);
        }
        DeleteRangeResponse {
            header: revision_header(self.reported_revision()),
            deleted: doomed.len() as i64,
            prev_kvs: if request.prev_kv {
                doomed.iter().map(|kv| to_proto(kv)).collect()
            } else {
                Vec::new()
            },
        }
    }

    fn delete_key(&mut self, key: &[u8]) {
        let Some(prev) = self.working.tree.remove(key) else {
            return;
        };
        self.move_lease(prev.lease, LeaseId::NONE, &prev.key);
        let (revision, position) = (self.working.revision.next(), self.changes.len() as u32);
        let tombstone = Arc::new(KeyValue::tombstone(prev.key.clone(), revision, position));
        self.changes.push(Change {
            kind: ChangeKind::Delete,
            kv: tombstone,
            prev: Some(prev),
        });
    }

    fn move_lease(&mut self, from: LeaseId, to: LeaseId, key: &Bytes) {
        if from != to {
            self.leases.detach(from, key);
            self.leases.attach(to, key);
        }
    }
}

/// Copies what the index keeps out of the request: a slice of a receive buffer would hold all of
/// it. The key is shared by all versions, the value is not, so they are allocated apart.
fn own(key: &Bytes, value: &Bytes, prev: Option<&KeyValue>) -> (Bytes, Bytes) {
    let key = match prev {
        Some(prev) => prev.key.clone(),
        None => Bytes::copy_from_slice(key),
    };
    (key, Bytes::copy_from_slice(value))
}

fn branch(request: &TxnRequest, succeeded: bool) -> &[RequestOp] {
    if succeeded {
        &request.success
    } else {
        &request.failure
    }
}

/// A missing key has no value to compare with; its numbers are 0.
fn compare_missing(compare: &Compare) -> bool {
    compare.target() != CompareTarget::Value && holds(compare, 0.cmp(&expected_number(compare)))
}

fn compare_key_value(compare: &Compare, kv: &KeyValue) -> bool {
    let number = match CompareTarget::try_from(compare.target) {
        Ok(CompareTarget::Value) => {
            let expected: &[u8] = match &compare.target_union {
                Some(TargetUnion::Value(value)) => value,
                _ => &[],
            };
            return holds(compare, kv.value.as_ref().cmp(expected));
        }
        Ok(CompareTarget::Version) => kv.version,
        Ok(CompareTarget::Create) => kv.create_revision.number(),
        Ok(CompareTarget::Mod) => kv.mod_revision.number(),
        Ok(CompareTarget::Lease) => kv.lease.number(),
        Err(_) => return holds(compare, std::cmp::Ordering::Equal),
    };
    holds(compare, number.cmp(&expected_number(compare)))
}

/// The operand, which counts only if it is of the kind that the target names; else it is 0.
fn expected_number(compare: &Compare) -> i64 {
    match (
        CompareTarget::try_from(compare.target),
        &compare.target_union,
    ) {
        (Ok(CompareTarget::Version), Some(TargetUnion::Version(number)))
        | (Ok(CompareTarget::Create), Some(TargetUnion::CreateRevision(number)))
        | (Ok(CompareTarget::Mod), Some(TargetUnion::ModRevision(number)))
        | (Ok(CompareTarget::Lease), Some(TargetUnion::Lease(number))) => *number,
        _ => 0,
    }
}

fn holds(compare: &Compare, ordering: std::cmp::Ordering) -> bool {
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => ordering.is_eq(),
        Ok(CompareResult::NotEqual) => ordering.is_ne(),
        Ok(CompareResult::Greater) => ordering.is_gt(),
        Ok(CompareResult::Less) => ordering.is_lt(),
        Err(_) => true,
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
