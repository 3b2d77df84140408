//! Random requests against the model.

use std::sync::Arc;

use bytes::Bytes;
use etcd_proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    compare::TargetUnion, request_op::Request,
};
use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    Evaluation, Working,
    model::{Event, Model, State, answer_range},
};
use crate::{
    lease::LeaseTable,
    mvcc::{ChangeKind, Commit, History, KeyValue, LeaseId, Revision, Tree},
    requests::{self, check_txn, to_proto},
};

#[derive(Debug, Clone)]
enum Step {
    Put(PutRequest),
    DeleteRange(DeleteRangeRequest),
    Txn(TxnRequest),
    Grant(i64),
    Revoke(i64),
    /// The batch so far is committed.
    Commit,
    Compact(i64),
    Range(RangeRequest),
}

/// Few keys, so that requests meet; one is a prefix of others, and one ends with a zero byte.
fn key() -> impl Strategy<Value = Bytes> {
    select(vec!["a", "a\0", "aa", "ab", "b", "ba", "c", "d"]).prop_map(Bytes::from_static_str)
}

/// Ends of single keys, of everything after, of spans and of spans that hold nothing.
fn end() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        4 => Just(Bytes::new()),
        1 => Just(Bytes::from_static(b"\0")),
        4 => select(vec!["a", "ab", "b", "c", "e"]).prop_map(Bytes::from_static_str),
    ]
}

trait FromStaticStr {
    fn from_static_str(text: &'static str) -> Self;
}

impl FromStaticStr for Bytes {
    fn from_static_str(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes())
    }
}

fn value() -> impl Strategy<Value = Bytes> {
    select(vec!["", "1", "2", "33"]).prop_map(Bytes::from_static_str)
}

fn lease() -> impl Strategy<Value = i64> {
    prop_oneof![3 => Just(0), 2 => 1..4i64]
}

/// Added to a revision that is meant to be counted from the current one: see `settle`.
const FROM_CURRENT: i64 = 1000;

/// Generates the revision of a request, mostly one that exists.
fn revision() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => Just(0),
        4 => 1..20i64,
        6 => FROM_CURRENT - 6..FROM_CURRENT + 2,
        1 => -2..60i64,
    ]
}

/// Makes relative revisions absolute.
fn settle(txn: &mut TxnRequest, current: i64) {
    for operation in txn.success.iter_mut().chain(&mut txn.failure) {
        match operation.request.as_mut().unwrap() {
            Request::RequestRange(range) if range.revision > FROM_CURRENT / 2 => {
                range.revision += current - FROM_CURRENT;
            }
            Request::RequestTxn(nested) => settle(nested, current),
            _ => {}
        }
    }
}

fn put() -> impl Strategy<Value = PutRequest> {
    let ignored = prop::bool::weighted(0.15);
    (key(), value(), lease(), any::<bool>(), ignored, ignored).prop_map(
        |(key, value, lease, prev_kv, ignore_value, ignore_lease)| PutRequest {
            key,
            value: if ignore_value { Bytes::new() } else { value },
            lease: if ignore_lease { 0 } else { lease },
            prev_kv,
            ignore_value,
            ignore_lease,
        },
    )
}

fn delete_range() -> impl Strategy<Value = DeleteRangeRequest> {
    (key(), end(), any::<bool>()).prop_map(|(key, range_end, prev_kv)| DeleteRangeRequest {
        key,
        range_end,
        prev_kv,
    })
}

fn range() -> impl Strategy<Value = RangeRequest> {
    let bound = || prop_oneof![8 => Just(0), 1 => 1..20i64];
    let bounds = (bound(), bound(), bound(), bound());
    let flag = prop::bool::weighted(0.2);
    (
        (key(), end(), revision(), -1..4i64),
        (0..3i32, 0..5i32, flag, flag),
        bounds,
    )
        .prop_map(
            |((key, range_end, revision, limit), (order, target, keys_only, count_only), b)| {
                RangeRequest {
                    key,
                    range_end,
                    revision,
                    limit,
                    sort_order: order,
                    sort_target: target,
                    keys_only,
                    count_only,
                    min_mod_revision: b.0,
                    max_mod_revision: b.1,
                    min_create_revision: b.2,
                    max_create_revision: b.3,
                    ..Default::default()
                }
            },
        )
}

fn compare() -> impl Strategy<Value = Compare> {
    let number = || 0..20i64;
    let union = prop_oneof![
        (0..3i64).prop_map(TargetUnion::Version),
        number().prop_map(TargetUnion::CreateRevision),
        number().prop_map(TargetUnion::ModRevision),
        value().prop_map(TargetUnion::Value),
        lease().prop_map(TargetUnion::Lease),
    ];
    (key(), end(), 0..4i32, union).prop_map(|(key, range_end, result, union)| Compare {
        key,
        range_end,
        result,
        target: match union {
            TargetUnion::Version(_) => 0,
            TargetUnion::CreateRevision(_) => 1,
            TargetUnion::ModRevision(_) => 2,
            TargetUnion::Value(_) => 3,
            TargetUnion::Lease(_) => 4,
        },
        target_union: Some(union),
    })
}

fn operation() -> impl Strategy<Value = RequestOp> {
    let simple = prop_oneof![
        1 => put().prop_map(Request::RequestPut),
        1 => delete_range().prop_map(Request::RequestDeleteRange),
        2 => range().prop_map(Request::RequestRange),
    ];
    let nested = simple.prop_recursive(3, 24, 4, |inner| {
        let list = || {
            let ops = vec(inner.clone(), 0..4);
            ops.prop_map(|ops| ops.into_iter().map(|op| RequestOp { request: Some(op) }))
        };
        (vec(compare(), 0..2), list(), list()).prop_map(|(compare, success, failure)| {
            Request::RequestTxn(TxnRequest {
                compare,
                success: success.collect(),
                failure: failure.collect(),
            })
        })
    });
    nested.prop_map(|request| RequestOp {
        request: Some(request),
    })
}

fn txn() -> impl Strategy<Value = TxnRequest> {
    let list = || vec(operation(), 0..6);
    (vec(compare(), 0..3), list(), list()).prop_map(|(compare, success, failure)| TxnRequest {
        compare,
        success,
        failure,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => put().prop_map(Step::Put),
        2 => delete_range().prop_map(Step::DeleteRange),
        10 => txn().prop_map(Step::Txn),
        2 => (1..4i64).prop_map(Step::Grant),
        1 => (1..4i64).prop_map(Step::Revoke),
        10 => Just(Step::Commit),
        1 => (0..20i64).prop_map(Step::Compact),
        3 => range().prop_map(Step::Range),
    ]
}

/// The evaluator and what the writer would hold around it.
struct Real {
    working: Working,
    leases: LeaseTable,
    history: History,
    batch: Vec<Arc<Commit>>,
}

impl Real {
    fn new() -> Self {
        let history = History::new();
        let head = history.head();
        Real {
            working: Working {
                tree: head.tree.clone(),
                revision: head.revision,
            },
            leases: LeaseTable::default(),
            history,
            batch: Vec::new(),
        }
    }

    fn evaluate<T>(
        &mut self,
        run: impl FnOnce(&mut Evaluation<'_>) -> T,
    ) -> (T, Option<Arc<Commit>>) {
        let mut evaluation = Evaluation::new(&mut self.working, &mut self.leases, &self.history);
        let result = run(&mut evaluation);
        let commit = evaluation.finish();
        self.batch.extend(commit.clone());
        (result, commit)
    }

    fn commit(&mut self) {
        self.history.append(&self.batch, self.working.tree.clone());
        self.batch.clear();
    }
}

fn events(commit: Option<&Commit>) -> Vec<Event> {
    let changes = commit.iter().flat_map(|commit| &commit.changes);
    let event = |(at, change): (usize, &crate::mvcc::Change)| {
        assert_eq!(change.kv.position as usize, at, "positions are consecutive");
        assert_eq!(change.kv.mod_revision, commit.unwrap().revision);
        let is_put = change.kind == ChangeKind::Put;
        Event {
            key: change.kv.key.to_vec(),
            after: is_put.then(|| to_proto(&change.kv)),
            before: change.prev.as_deref().map(to_proto),
        }
    };
    changes.enumerate().map(event).collect()
}

fn state_of(tree: &Tree) -> State {
    tree.iter()
        .map(|kv: &Arc<KeyValue>| (kv.key.to_vec(), to_proto(kv)))
        .collect()
}

/// Runs one request on both sides, and compares answer, events and what is left.
fn agree<T: PartialEq + std::fmt::Debug>(
    real: &mut Real,
    model: &mut Model,
    on_real: impl FnOnce(&mut Evaluation<'_>) -> T,
    on_model: impl FnOnce(&mut super::model::Attempt<'_>) -> T,
) -> Result<(), TestCaseError> {
    let (answer, commit) = real.evaluate(on_real);
    let mut attempt = model.attempt();
    let expected = on_model(&mut attempt);
    let (state, changes) = attempt.finish();
    prop_assert_eq!(answer, expected);
    prop_assert_eq!(&events(commit.as_deref()), &changes);
    let mut keys: Vec<_> = changes.iter().map(|event| &event.key).collect();
    keys.sort_unstable();
    keys.dedup();
    prop_assert_eq!(
        keys.len(),
        changes.len(),
        "a key changes once in a revision"
    );
    model.accept(state, &changes);
    prop_assert_eq!(real.working.revision.number(), model.revision);
    Ok(())
}

fn run(real: &mut Real, model: &mut Model, step: &Step) -> Result<(), TestCaseError> {
    match step {
        Step::Put(put) => agree(real, model, |e| e.put(put), |m| m.put(put))?,
        Step::DeleteRange(delete) => agree(
            real,
            model,
            |e| e.delete_range(delete),
            |m| Ok(m.delete_range(delete)),
        )?,
        Step::Txn(txn) => {
            let mut txn = txn.clone();
            settle(&mut txn, model.revision);
            let txn = &txn;
            if check_txn(txn, 128).is_ok() {
                agree(real, model, |e| e.txn(txn), |m| m.txn(txn))?;
            }
        }
        Step::Grant(id) => {
            if model.leases.insert(*id) {
                real.leases.insert(LeaseId::new(*id), 10, 10, 0);
            }
        }
        Step::Revoke(id) => {
            let keys = real.leases.remove(LeaseId::new(*id));
            prop_assert_eq!(keys.is_some(), model.leases.remove(id));
            let Some(keys) = keys else { return Ok(()) };
            let attached = model.attached(*id);
            agree(
                real,
                model,
                |e| e.delete_keys(keys),
                |m| attached.iter().for_each(|key| drop(m.delete(key))),
            )?;
        }
        Step::Commit => {
            real.commit();
            model.committed = model.revision;
        }
        Step::Compact(revision) => {
            let is_allowed = (model.compacted + 1..=model.committed).contains(revision);
            prop_assert_eq!(
                real.history.compact(Revision::new(*revision)).is_ok(),
                is_allowed
            );
            if is_allowed {
                model.compacted = *revision;
            }
        }
        Step::Range(range) => {
            let head = real.history.head();
            let range = RangeRequest {
                revision: 0,
                ..range.clone()
            };
            let expected = answer_range(&model.states[&model.committed], &range, 7);
            prop_assert_eq!(
                requests::range(&head.tree, &range, Revision::new(7)),
                expected
            );
        }
    }
    Ok(())
}

fn check_invariants(real: &Real, model: &Model) -> Result<(), TestCaseError> {
    prop_assert_eq!(&state_of(&real.working.tree), model.current());
    prop_assert_eq!(real.leases.len(), model.leases.len());
    for id in &model.leases {
        let view = real.leases.view(LeaseId::new(*id), true, 0).unwrap();
        let keys: Vec<Vec<u8>> = view.keys.iter().map(|key| key.to_vec()).collect();
        prop_assert_eq!(keys, model.attached(*id));
    }
    for revision in model.compacted.max(1)..=model.committed {
        let snapshot = real.history.at(Revision::new(revision)).unwrap();
        prop_assert_eq!(&state_of(&snapshot.tree), &model.states[&revision]);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn requests_do_what_the_model_does(steps in vec(step(), 1..50)) {
        let (mut real, mut model) = (Real::new(), Model::new());
        for step in &steps {
            run(&mut real, &mut model, step)?;
            check_invariants(&real, &model)?;
        }
    }
}
