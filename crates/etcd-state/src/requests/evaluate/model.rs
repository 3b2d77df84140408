//! A model of etcd, written down as plainly as possible: a whole map for each revision, and a copy
//! of it for each transaction.

use std::collections::{BTreeMap, BTreeSet};

use etcd_proto::{
    etcdserverpb::{
        Compare, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest,
        RangeResponse, RequestOp, ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
        compare::{CompareResult, CompareTarget, TargetUnion},
        range_request::{SortOrder, SortTarget},
        request_op::Request,
        response_op::Response,
    },
    mvccpb::KeyValue,
};

use crate::requests::RequestError;

pub type State = BTreeMap<Vec<u8>, KeyValue>;

/// A deleted key has no value after.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub key: Vec<u8>,
    pub after: Option<KeyValue>,
    pub before: Option<KeyValue>,
}

pub struct Model {
    pub revision: i64,
    /// The last committed revision; of later ones only the newest state can be read.
    pub committed: i64,
    pub compacted: i64,
    pub states: BTreeMap<i64, State>,
    pub leases: BTreeSet<i64>,
}

/// One request on a copy of the newest state.
pub struct Attempt<'m> {
    model: &'m Model,
    state: State,
    events: Vec<Event>,
}

impl Model {
    pub fn new() -> Self {
        Model {
            revision: 1,
            committed: 1,
            compacted: -1,
            states: BTreeMap::from([(1, State::new())]),
            leases: BTreeSet::new(),
        }
    }

    pub fn current(&self) -> &State {
        &self.states[&self.revision]
    }

    pub fn attempt(&self) -> Attempt<'_> {
        Attempt {
            model: self,
            state: self.current().clone(),
            events: Vec::new(),
        }
    }

    /// Adopts the result of an attempt.
    pub fn accept(&mut self, state: State, events: &[Event]) {
        if !events.is_empty() {
            self.revision += 1;
            self.states.insert(self.revision, state);
        }
    }

    pub fn attached(&self, lease: i64) -> Vec<Vec<u8>> {
        let attached = self.current().iter().filter(|(_, kv)| kv.lease == lease);
        attached.map(|(key, _)| key.clone()).collect()
    }
}

impl Attempt<'_> {
    pub fn finish(self) -> (State, Vec<Event>) {
        (self.state, self.events)
    }

    pub fn put(&mut self, put: &PutRequest) -> Result<PutResponse, RequestError> {
        self.check_lease(put)?;
        self.check_previous(put)?;
        Ok(self.do_put(put))
    }

    pub fn delete_range(&mut self, delete: &DeleteRangeRequest) -> DeleteRangeResponse {
        let keys: Vec<_> = select(&self.state, &delete.key, &delete.range_end)
            .map(|kv| kv.key.to_vec())
            .collect();
        let prevs: Vec<KeyValue> = keys.iter().map(|key| self.delete(key)).collect();
        DeleteRangeResponse {
            header: header(self.reported()),
            deleted: keys.len() as i64,
            prev_kvs: if delete.prev_kv { prevs } else { vec![] },
        }
    }

    pub fn delete(&mut self, key: &[u8]) -> KeyValue {
        let before = self.state.remove(key).unwrap();
        self.events.push(Event {
            key: key.to_vec(),
            after: None,
            before: Some(before.clone()),
        });
        before
    }

    pub fn txn(&mut self, txn: &TxnRequest) -> Result<TxnResponse, RequestError> {
        self.check_txn(txn)?;
        let mut response = self.do_txn(txn);
        response.header = header(self.reported());
        Ok(response)
    }

    fn reported(&self) -> i64 {
        self.model.revision + if self.events.is_empty() { 0 } else { 1 }
    }

    fn chosen<'t>(&self, txn: &'t TxnRequest) -> (bool, &'t [RequestOp]) {
        let before = self.model.current();
        if txn.compare.iter().all(|compare| holds(before, compare)) {
            (true, &txn.success)
        } else {
            (false, &txn.failure)
        }
    }

    fn check_txn(&self, txn: &TxnRequest) -> Result<(), RequestError> {
        for op in self.chosen(txn).1 {
            match op.request.as_ref().unwrap() {
                Request::RequestRange(range) if range.revision == 0 => {}
                Request::RequestRange(range) if range.revision == self.model.revision => {}
                Request::RequestRange(range) if range.revision > self.model.committed => {
                    return Err(RequestError::FutureRevision);
                }
                Request::RequestRange(range) if range.revision < self.model.compacted => {
                    return Err(RequestError::Compacted);
                }
                Request::RequestPut(put) => {
                    self.check_lease(put)?;
                    self.check_previous(put)?;
                }
                Request::RequestTxn(txn) => self.check_txn(txn)?,
                Request::RequestRange(_) | Request::RequestDeleteRange(_) => {}
            }
        }
        Ok(())
    }

    fn check_lease(&self, put: &PutRequest) -> Result<(), RequestError> {
        if put.lease != 0 && !self.model.leases.contains(&put.lease) {
            return Err(RequestError::LeaseNotFound);
        }
        Ok(())
    }

    fn check_previous(&self, put: &PutRequest) -> Result<(), RequestError> {
        let exists = self.model.current().contains_key(&put.key[..]);
        if (put.ignore_value || put.ignore_lease) && !exists {
            return Err(RequestError::KeyNotFound);
        }
        Ok(())
    }

    fn do_txn(&mut self, txn: &TxnRequest) -> TxnResponse {
        let (succeeded, ops) = self.chosen(txn);
        let mut responses = Vec::new();
        for op in ops {
            let response = match op.request.as_ref().unwrap() {
                Request::RequestRange(range) => Response::ResponseRange(self.range(range)),
                Request::RequestPut(put) => Response::ResponsePut(self.do_put(put)),
                Request::RequestDeleteRange(delete) => {
                    Response::ResponseDeleteRange(self.delete_range(delete))
                }
                Request::RequestTxn(txn) => Response::ResponseTxn(self.do_txn(txn)),
            };
            responses.push(ResponseOp {
                response: Some(response),
            });
        }
        TxnResponse {
            header: header(0),
            succeeded,
            responses,
        }
    }

    fn do_put(&mut self, put: &PutRequest) -> PutResponse {
        let before = self.state.get(&put.key[..]).cloned();
        let revision = self.model.revision + 1;
        let mut after = KeyValue {
            key: put.key.clone(),
            value: put.value.clone(),
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            lease: put.lease,
        };
        if let Some(before) = &before {
            after.create_revision = before.create_revision;
            after.version = before.version + 1;
            if put.ignore_value {
                after.value = before.value.clone();
            }
            if put.ignore_lease {
                after.lease = before.lease;
            }
        }
        self.state.insert(put.key.to_vec(), after.clone());
        self.events.push(Event {
            key: put.key.to_vec(),
            after: Some(after),
            before: before.clone(),
        });
        PutResponse {
            header: header(revision),
            prev_kv: if put.prev_kv { before } else { None },
        }
    }

    fn range(&self, range: &RangeRequest) -> RangeResponse {
        let state = if range.revision <= 0 {
            &self.state
        } else {
            &self.model.states[&range.revision]
        };
        answer_range(state, range, self.reported())
    }
}

pub fn answer_range(state: &State, range: &RangeRequest, reported: i64) -> RangeResponse {
    let mut kvs: Vec<KeyValue> = select(state, &range.key, &range.range_end)
        .cloned()
        .collect();
    let mut response = RangeResponse {
        header: header(reported),
        count: kvs.len() as i64,
        ..Default::default()
    };
    if range.count_only {
        return response;
    }
    let limit = usize::try_from(range.limit)
        .ok()
        .filter(|limit| *limit > 0)
        .unwrap_or(usize::MAX);
    let bounds = [
        (range.min_mod_revision, range.max_mod_revision),
        (range.min_create_revision, range.max_create_revision),
    ];
    let (target, order) = (range.sort_target(), range.sort_order());
    let is_filtered = bounds != [(0, 0); 2];
    let is_default =
        order == SortOrder::None || (target == SortTarget::Key && order == SortOrder::Ascend);
    if is_default && !is_filtered {
        // etcd reads one key more than the limit before it sorts.
        kvs.truncate(limit.saturating_add(1));
    }
    let within = |value: i64, (min, max): (i64, i64)| {
        (min == 0 || value >= min) && (max == 0 || value <= max)
    };
    kvs.retain(|kv| within(kv.mod_revision, bounds[0]) && within(kv.create_revision, bounds[1]));
    kvs.sort_by(|a, b| {
        let ascending = match target {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create_revision.cmp(&b.create_revision),
            SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
            SortTarget::Value => a.value.cmp(&b.value),
        };
        match order {
            SortOrder::Descend => ascending.reverse(),
            SortOrder::None | SortOrder::Ascend => ascending,
        }
    });
    response.more = kvs.len() > limit;
    kvs.truncate(limit);
    if range.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value.clear());
    }
    response.kvs = kvs;
    response
}

fn select<'s>(
    state: &'s State,
    key: &'s [u8],
    end: &'s [u8],
) -> impl Iterator<Item = &'s KeyValue> {
    let selected = state.iter().filter(move |(candidate, _)| match end {
        [] => candidate.as_slice() == key,
        [0] => candidate.as_slice() >= key,
        end => candidate.as_slice() >= key && candidate.as_slice() < end,
    });
    selected.map(|(_, kv)| kv)
}

fn holds(state: &State, compare: &Compare) -> bool {
    let missing = KeyValue::default();
    let mut kvs: Vec<_> = select(state, &compare.key, &compare.range_end).collect();
    if kvs.is_empty() {
        if compare.target() == CompareTarget::Value {
            return false;
        }
        kvs.push(&missing);
    }
    kvs.iter().all(|kv| {
        let ordering = match compare.target_union.as_ref().unwrap() {
            TargetUnion::Value(value) => kv.value.cmp(value),
            TargetUnion::Version(version) => kv.version.cmp(version),
            TargetUnion::CreateRevision(revision) => kv.create_revision.cmp(revision),
            TargetUnion::ModRevision(revision) => kv.mod_revision.cmp(revision),
            TargetUnion::Lease(lease) => kv.lease.cmp(lease),
        };
        match compare.result() {
            CompareResult::Equal => ordering.is_eq(),
            CompareResult::NotEqual => ordering.is_ne(),
            CompareResult::Greater => ordering.is_gt(),
            CompareResult::Less => ordering.is_lt(),
        }
    })
}

fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader {
        revision,
        ..Default::default()
    })
}
