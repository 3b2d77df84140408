//! Concurrent clients on an engine whose connections keep breaking.
//!
//! The assertions do not depend on the timing: every write that was acknowledged is in the history
//! at its revision, every other one is there once or not at all, and the database, read back, is
//! the index.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use etcd_proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RequestOp, TxnRequest, compare::TargetUnion,
    request_op::Request,
};
use etcd_state::{
    mvcc::{ChangeKind, Commit, LeaseId, Revision},
    requests::RequestError,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{task::JoinSet, time::Instant};

use super::harness::{Engine, Fault, Running, contents, put};
use crate::store::Store;

const CLIENTS: u64 = 8;
const FAULTS: usize = 60;

/// A key that changed, as the client knows it: each value is used once.
type Written = (String, Option<String>);

/// The writes of a client with their outcome: the revision, or none if it is not known.
#[derive(Default)]
struct Journal {
    writes: Vec<(Vec<Written>, Option<Revision>)>,
    refused: Vec<Written>,
    granted: BTreeSet<LeaseId>,
    revoked: BTreeSet<LeaseId>,
    doubtful_leases: BTreeSet<LeaseId>,
}

impl Journal {
    fn note(&mut self, written: Vec<Written>, result: Result<Revision, RequestError>) {
        match result {
            Ok(revision) => self.writes.push((written, Some(revision))),
            Err(RequestError::TimedOut) => self.writes.push((written, None)),
            Err(_) => self.refused.extend(written),
        }
    }

    fn note_lease(&mut self, id: LeaseId, is_grant: bool, result: Result<(), RequestError>) {
        match result {
            Ok(()) if is_grant => drop(self.granted.insert(id)),
            Ok(()) => drop(self.revoked.insert(id)),
            Err(RequestError::TimedOut) => drop(self.doubtful_leases.insert(id)),
            // An earlier attempt did it after all.
            Err(RequestError::LeaseNotFound | RequestError::LeaseExists) => {}
            Err(error) => panic!("lease {id}: {error}"),
        }
    }
}

fn put_operation(key: &str, value: &str) -> RequestOp {
    RequestOp {
        request: Some(Request::RequestPut(put(key, value))),
    }
}

/// Puts two keys if the first does not exist.
fn create_two(first: &str, second: &str, value: &str) -> TxnRequest {
    TxnRequest {
        compare: vec![Compare {
            key: first.as_bytes().to_vec().into(),
            target_union: Some(TargetUnion::Version(0)),
            ..Default::default()
        }],
        success: vec![put_operation(first, value), put_operation(second, value)],
        failure: vec![],
    }
}

async fn client(store: Store, index: u64, seed: u64, done: Arc<AtomicBool>) -> Journal {
    let mut random = StdRng::seed_from_u64(seed ^ index);
    let mut journal = Journal::default();
    let mut request = 0;
    while !done.load(Ordering::Relaxed) {
        request += 1;
        let key = format!("k{}", random.random_range(0..20));
        let value = format!("{index}.{request}");
        let lease = LeaseId::new((index as i64 + 1) * 1_000_000 + request);
        match random.random_range(0..10) {
            0..5 => {
                let result = store.put(put(&key, &value)).await;
                journal.note(
                    vec![(key, Some(value))],
                    result.map(|response| Revision::new(response.header.unwrap().revision)),
                );
            }
            5 => {
                let delete = DeleteRangeRequest {
                    key: key.clone().into(),
                    ..Default::default()
                };
                if let Ok(response) = store.delete_range(delete).await
                    && response.deleted > 0
                {
                    journal.note(
                        vec![(key, None)],
                        Ok(Revision::new(response.header.unwrap().revision)),
                    );
                }
            }
            6 | 7 => {
                let second = format!("second{index}");
                let txn = create_two(&key, &second, &value);
                let written = vec![(key, Some(value.clone())), (second, Some(value))];
                match store.txn(txn).await {
                    Ok(response) if !response.succeeded => journal.refused.extend(written),
                    result => {
                        let revision =
                            result.map(|response| Revision::new(response.header.unwrap().revision));
                        journal.note(written, revision);
                    }
                }
            }
            8 => {
                let granted = store.lease_grant(lease, 1000).await;
                journal.note_lease(lease, true, granted.map(drop));
                let key = format!("leased{index}.{}", random.random_range(0..3));
                let result = store
                    .put(PutRequest {
                        lease: lease.number(),
                        ..put(&key, &value)
                    })
                    .await;
                journal.note(
                    vec![(key, Some(value))],
                    result.map(|response| Revision::new(response.header.unwrap().revision)),
                );
                if random.random_bool(0.5) {
                    journal.note_lease(lease, false, store.lease_revoke(lease).await.map(drop));
                }
            }
            _ => {
                let back = random.random_range(0..20);
                let revision = Revision::new(store.revision().number() - back);
                let _ = store.compact(revision, random.random_bool(0.3)).await;
            }
        }
    }
    journal
}

async fn break_connections(engine: &Engine, store: &Store, seed: u64) {
    let mut random = StdRng::seed_from_u64(!seed);
    let faults = [
        Fault::LoseRequest,
        Fault::LoseReply,
        Fault::Leave,
        Fault::Tear,
    ];
    let deadline = Instant::now() + Duration::from_secs(60);
    for _ in 0..FAULTS {
        engine.inject(faults[random.random_range(0..faults.len())]);
        let next = Revision::new(store.revision().number() + random.random_range(1..30));
        // Some come in the middle of a recovery.
        let hits_recovery = random.random_bool(0.1);
        while engine.has_fault() || (store.revision() < next && !hits_recovery) {
            assert!(Instant::now() < deadline, "nothing is written any more");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn written(commit: &Commit) -> Vec<Written> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let changes = commit.changes.iter().map(|change| {
        let is_put = change.kind == ChangeKind::Put;
        (text(&change.kv.key), is_put.then(|| text(&change.kv.value)))
    });
    changes.collect()
}

fn check_history(commits: &[Arc<Commit>], journals: &[Journal]) {
    let revisions = commits.iter().map(|commit| commit.revision.number());
    assert!(
        revisions.eq(2..2 + commits.len() as i64),
        "revisions are consecutive, each is published once"
    );
    let mut times = BTreeMap::new();
    for commit in commits {
        for (key, value) in written(commit) {
            let Some(value) = value else { continue };
            *times.entry((key, value)).or_insert(0) += 1;
        }
    }
    for journal in journals {
        for (expected, revision) in &journal.writes {
            if let Some(revision) = revision {
                assert_eq!(&written(&commits[revision.number() as usize - 2]), expected);
            }
            let found: Vec<_> = expected
                .iter()
                .filter_map(|(key, value)| Some((key.clone(), value.clone()?)))
                .map(|written| times.get(&written).copied().unwrap_or(0))
                .collect();
            assert!(
                found.iter().all(|found| *found <= 1),
                "written once at most"
            );
            assert!(
                found.windows(2).all(|pair| pair[0] == pair[1]),
                "a transaction is there as a whole or not at all: {expected:?}"
            );
        }
        for (key, value) in &journal.refused {
            let value = value.clone().unwrap();
            assert!(!times.contains_key(&(key.clone(), value)));
        }
    }
}

async fn check_leases(store: &Store, journals: &[Journal]) {
    let existing: BTreeSet<LeaseId> = store.lease_list().await.unwrap().into_iter().collect();
    for journal in journals {
        for id in &journal.granted {
            let may_be_gone = journal.revoked.contains(id) || journal.doubtful_leases.contains(id);
            assert!(may_be_gone || existing.contains(id), "lease {id} is lost");
        }
        for id in &journal.revoked {
            assert!(!existing.contains(id), "lease {id} is back");
        }
    }
}

/// All that a restart must bring back.
async fn everything_in(store: &Store) -> impl PartialEq + std::fmt::Debug + use<> {
    let history = store.history();
    let compact_revision = history.compact_revision();
    let mut leases = BTreeMap::new();
    for id in store.lease_list().await.unwrap() {
        let view = store.lease_time_to_live(id, true).await.unwrap().unwrap();
        leases.insert(id, (view.granted_ttl_s, view.keys));
    }
    let commits = history.commits_from(compact_revision, usize::MAX).unwrap();
    let commits: Vec<_> = commits
        .iter()
        .flat_map(|commit| &commit.changes)
        .map(|change| {
            let prev = change.visible_prev(compact_revision).cloned();
            (change.kind, change.kv.clone(), prev)
        })
        .collect();
    (contents(store), compact_revision, leases, commits)
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_connections_lose_and_repeat_nothing() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let engine = Engine::start();
    let running = Running::open(engine.faulty_endpoint()).await;
    let done = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for index in 0..CLIENTS {
        clients.spawn(client(running.store.clone(), index, seed, done.clone()));
    }
    break_connections(&engine, &running.store, seed).await;
    done.store(true, Ordering::Relaxed);
    let journals = clients.join_all().await;

    // Ordered after everything before; what a fault hits is refused, so more than once.
    let deadline = Instant::now() + Duration::from_secs(10);
    while running.store.lease_list().await.is_err() {
        assert!(Instant::now() < deadline, "the writer does not recover");
    }
    check_history(&running.observed.lock().unwrap(), &journals);
    check_leases(&running.store, &journals).await;
    let acknowledged = journals.iter().flat_map(|journal| &journal.writes);
    let acknowledged = acknowledged.filter(|(_, revision)| revision.is_some());
    assert!(
        acknowledged.count() > FAULTS,
        "work goes on between the faults"
    );
    // The last compaction may still be at work on the index.
    let last = running.store.compact(running.store.revision(), false).await;
    assert!(matches!(last, Ok(_) | Err(RequestError::Compacted)));
    let before = everything_in(&running.store).await;
    running.stop().await;
    let reopened = Running::open(engine.endpoint()).await;
    assert_eq!(everything_in(&reopened.store).await, before);
    reopened.stop().await;
}
