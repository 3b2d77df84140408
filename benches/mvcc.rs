//! Measures the in-memory index: `cargo bench --bench mvcc`. Prints one line per operation.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use etcd_state::mvcc::{
    Change, ChangeKind, Commit, History, KeyRange, KeyValue, LeaseId, NEVER_COMPACTED, Replay,
    Revision, Tree,
};

const KEYS: usize = 1_000_000;
const LOADED_KEYS: usize = 200_000;
const LOOK_UPS: usize = 1_000_000;
const BATCHES: usize = 2_000;
/// The number of changes that the writer commits at once under load.
const BATCH_CHANGES: usize = 64;

fn main() {
    bench_load();
    let keys = scattered(pod_keys(KEYS));
    let tree = load(&keys);
    bench_reads(&tree, &keys);
    bench_batches(&tree, &keys);
    bench_history(&keys[..LOADED_KEYS]);
    bench_replay();
}

fn bench_load() {
    let sorted = pod_keys(LOADED_KEYS);
    let mixed = scattered(sorted.clone());
    for (name, keys) in [("insert ascending", sorted), ("insert scattered", mixed)] {
        let versions: Vec<_> = keys
            .iter()
            .map(|key| version(key, Revision::new(2), None))
            .collect();
        let mut tree = Tree::new();
        let spent = time(|| versions.into_iter().for_each(|kv| drop(tree.insert(kv))));
        report(&format!("{name}, {LOADED_KEYS} keys"), spent, LOADED_KEYS);
    }
}

fn bench_reads(tree: &Tree, keys: &[Bytes]) {
    let mut random = Random(1);
    let wanted: Vec<_> = (0..LOOK_UPS).map(|_| random.pick(keys).clone()).collect();
    let spent = time(|| {
        let found = wanted.iter().filter(|key| tree.get(key).is_some()).count();
        assert_eq!(found, LOOK_UPS);
    });
    report("get, of 1,000,000 keys", spent, LOOK_UPS);

    let namespaces: Vec<_> = (0..200).map(namespace_range).collect();
    let spent = time(|| {
        for range in namespaces.iter().cycle().take(LOOK_UPS / 10) {
            black_box(tree.count(range));
        }
    });
    report("count of 5,000, of 1,000,000 keys", spent, LOOK_UPS / 10);

    let spent = time(|| {
        for range in namespaces.iter().cycle().take(2_000) {
            let bytes: usize = tree.range(range).take(500).map(|kv| kv.value.len()).sum();
            black_box(bytes);
        }
    });
    report("range with limit 500, of 1,000,000 keys", spent, 2_000);
}

fn bench_batches(tree: &Tree, keys: &[Bytes]) {
    let mut random = Random(2);
    let batches: Vec<Vec<_>> = (0..BATCHES)
        .map(|_| {
            (0..BATCH_CHANGES)
                .map(|_| version(random.pick(keys), Revision::new(3), None))
                .collect()
        })
        .collect();
    let mut head = tree.clone();
    // As the history does: the former head goes when the new one is complete.
    let spent = time(|| {
        for batch in batches {
            let former = head.clone();
            batch.into_iter().for_each(|kv| drop(head.insert(kv)));
            drop(former);
        }
    });
    report(
        "copy-on-write batch of 64 puts, of 1,000,000 keys",
        spent,
        BATCHES,
    );
}

fn bench_history(keys: &[Bytes]) {
    let tree = load(keys);
    let history = History::restore(tree, Revision::new(2), NEVER_COMPACTED, Vec::new());
    let mut random = Random(3);
    let commits = 100_000;
    let spent = time(|| {
        for _ in 0..commits / BATCH_CHANGES {
            append_batch(&history, &mut random, keys);
        }
    });
    report(
        "evaluate and append one put, of 200,000 keys",
        spent,
        commits,
    );

    let last = history.head().revision.number();
    for (name, revision) in [
        ("64", last - 64),
        ("1,000", last - 1_000),
        ("50,000", last / 2),
    ] {
        let spent = time(|| {
            drop(black_box(
                history.at(Revision::new(revision)).expect("is readable"),
            ))
        });
        report(&format!("first read {name} commits back"), spent, 1);
        let spent = time(|| {
            drop(black_box(
                history.at(Revision::new(revision)).expect("is readable"),
            ))
        });
        report(&format!("next read {name} commits back"), spent, 1);
    }
    println!("{:?}", history.size());
    let middle = Revision::new(last / 2);
    let spent = time(|| drop(history.commits_from(middle, 1_000).expect("is readable")));
    report("read 1,000 commits for a watch", spent, 1);
    let spent = time(|| {
        let garbage = history.compact(middle).expect("is not compacted");
        println!("{} rows of garbage", garbage.len());
    });
    report("compact 50,000 commits", spent, 1);
}

fn append_batch(history: &History, random: &mut Random, keys: &[Bytes]) {
    let head = history.head();
    let mut tree = head.tree.clone();
    let commits: Vec<_> = (1..=BATCH_CHANGES as i64)
        .map(|n| {
            let revision = Revision::new(head.revision.number() + n);
            let key = random.pick(keys);
            let kv = version(key, revision, tree.get(key).map(Arc::as_ref));
            let prev = tree.insert(Arc::clone(&kv));
            Arc::new(Commit {
                revision,
                changes: vec![Change {
                    kind: ChangeKind::Put,
                    kv,
                    prev,
                }],
            })
        })
        .collect();
    drop(head);
    history.append(&commits, tree);
}

fn bench_replay() {
    let keys = scattered(pod_keys(LOADED_KEYS));
    for (name, compact_revision) in [("all compacted", LOADED_KEYS as i64), ("all in the log", 0)] {
        let value = Bytes::from(vec![7; 1024]);
        let rows: Vec<_> = (2i64..)
            .zip(&keys)
            .map(|(revision, key)| KeyValue {
                value: value.clone(),
                ..raw(key, Revision::new(revision), None)
            })
            .collect();
        let spent = time(|| {
            let mut replay = Replay::new(Revision::new(compact_revision));
            for kv in rows {
                replay
                    .row(ChangeKind::Put, kv, Revision::NONE)
                    .expect("the rows are complete");
            }
            let (history, _) = replay.finish();
            assert_eq!(history.head().tree.len(), LOADED_KEYS);
            std::mem::forget(history);
        });
        report(
            &format!("replay {LOADED_KEYS} rows, {name}"),
            spent,
            LOADED_KEYS,
        );
    }
}

fn load(keys: &[Bytes]) -> Tree {
    let mut tree = Tree::new();
    keys.iter()
        .for_each(|key| drop(tree.insert(version(key, Revision::new(2), None))));
    tree
}

fn version(key: &Bytes, revision: Revision, prev: Option<&KeyValue>) -> Arc<KeyValue> {
    Arc::new(raw(key, revision, prev))
}

fn raw(key: &Bytes, revision: Revision, prev: Option<&KeyValue>) -> KeyValue {
    KeyValue {
        key: key.clone(),
        value: Bytes::from_static(b"value"),
        create_revision: prev.map_or(revision, |prev| prev.create_revision),
        mod_revision: revision,
        version: prev.map_or(1, |prev| prev.version + 1),
        lease: LeaseId::NONE,
        position: 0,
    }
}

/// Names as replica sets give them, in 200 namespaces, ascending.
fn pod_keys(count: usize) -> Vec<Bytes> {
    let mut random = Random(4);
    let mut keys: Vec<_> = (0..count)
        .map(|n| {
            let (namespace, set, pod) = (n % 200, n % 4_000, random.next() % (1 << 40));
            Bytes::from(format!(
                "/registry/pods/team-{namespace:03}/web-{set:04}-7d9f8-{pod:010x}"
            ))
        })
        .collect();
    keys.sort_unstable();
    keys
}

fn namespace_range(namespace: usize) -> KeyRange {
    let prefix = format!("/registry/pods/team-{namespace:03}");
    KeyRange::new(
        Bytes::from(format!("{prefix}/")),
        Bytes::from(format!("{prefix}0")),
    )
}

fn scattered(mut keys: Vec<Bytes>) -> Vec<Bytes> {
    let mut random = Random(5);
    for at in (1..keys.len()).rev() {
        keys.swap(at, random.next() as usize % (at + 1));
    }
    keys
}

/// xorshift64*: the same keys in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    fn pick<'a>(&mut self, keys: &'a [Bytes]) -> &'a Bytes {
        &keys[self.next() as usize % keys.len()]
    }
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn report(what: &str, spent: Duration, times: usize) {
    let each = spent.as_nanos() as f64 / times as f64;
    println!(
        "{what:<52} {:>10.1} ms in all {each:>12.0} ns each",
        spent.as_secs_f64() * 1e3
    );
}
