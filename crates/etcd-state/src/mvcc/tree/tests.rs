use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::mvcc::{LeaseId, Revision};

type Model = BTreeMap<Bytes, Arc<KeyValue>>;

fn kv(key: impl Into<Bytes>, revision: i64) -> Arc<KeyValue> {
    Arc::new(KeyValue {
        key: key.into(),
        value: Bytes::from_static(b"v"),
        create_revision: Revision::new(revision),
        mod_revision: Revision::new(revision),
        version: 1,
        lease: LeaseId::NONE,
        position: 0,
    })
}

/// Keys as Kubernetes has them, and ones that are prefixes of each other or end in zero bytes.
fn key() -> impl Strategy<Value = Bytes> {
    let resource = prop::sample::select(vec!["pods/default", "pods/kube-system", "leases/n"]);
    prop_oneof![
        6 => (resource, 0..600u32).prop_map(|(r, n)| Bytes::from(format!("/registry/{r}/web-{n}"))),
        2 => prop::collection::vec(0..2u8, 0..12).prop_map(Bytes::from),
        1 => (0..90usize, 0..3u8).prop_map(|(n, b)| Bytes::from([vec![b'p'; n], vec![b]].concat())),
    ]
}

fn range() -> impl Strategy<Value = KeyRange> {
    (
        key(),
        prop_oneof![key(), Just(Bytes::new()), Just(Bytes::from_static(b"\0"))],
    )
        .prop_map(|(key, end)| KeyRange::new(key, end))
}

fn assert_same(tree: &Tree, model: &Model) {
    tree.check();
    assert!(tree.iter().eq(model.values()));
    assert_eq!(tree.len(), model.len());
}

fn assert_same_range(tree: &Tree, model: &Model, range: &KeyRange) {
    let expected: Vec<_> = model
        .values()
        .filter(|kv| range.contains(&kv.key))
        .collect();
    assert_eq!(tree.count(range), expected.len());
    let found = tree.range(range);
    assert_eq!(found.len(), expected.len());
    assert!(found.eq(expected));
}

#[derive(Debug, Clone)]
enum Step {
    Insert(Bytes),
    Remove(Bytes),
    /// Removes the keys of a range, at most this many.
    Clear(KeyRange, usize),
    Look(KeyRange),
    Copy,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => key().prop_map(Step::Insert),
        6 => key().prop_map(Step::Remove),
        1 => (range(), 0..200usize).prop_map(|(range, limit)| Step::Clear(range, limit)),
        3 => range().prop_map(Step::Look),
        1 => Just(Step::Copy),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn behaves_like_an_ordered_map_and_copies_never_change(
        steps in prop::collection::vec(step(), 1..1500)
    ) {
        let (mut tree, mut model) = (Tree::new(), Model::new());
        let mut copies = Vec::new();
        for (at, step) in steps.into_iter().enumerate() {
            match step {
                Step::Insert(key) => {
                    let kv = kv(key.clone(), at as i64);
                    prop_assert_eq!(tree.insert(Arc::clone(&kv)), model.insert(key, kv));
                }
                Step::Remove(key) => prop_assert_eq!(tree.remove(&key), model.remove(&key)),
                Step::Clear(range, limit) => {
                    let keys: Vec<_> =
                        tree.range(&range).take(limit).map(|kv| kv.key.clone()).collect();
                    for key in keys {
                        prop_assert_eq!(tree.remove(&key), model.remove(&key));
                    }
                    tree.check();
                }
                Step::Look(range) => {
                    let start = range.start();
                    prop_assert_eq!(tree.get(start), model.get(start));
                    assert_same_range(&tree, &model, &range);
                }
                Step::Copy => copies.push((tree.clone(), model.clone())),
            }
        }
        assert_same(&tree, &model);
        for (tree, model) in &copies {
            assert_same(tree, model);
        }
    }
}

#[test]
fn grows_to_several_levels_and_shrinks_to_nothing() {
    let keys: Vec<Bytes> = (0..40_000u32)
        .map(|n| Bytes::from(format!("/registry/events/ns-{}/e-{n:x}", n % 7)))
        .collect();
    let (mut tree, mut model) = (Tree::new(), Model::new());
    // Coprime with the number of keys: visits each once, far from the one before.
    let scattered = |n: usize| keys[n * 7_919 % keys.len()].clone();
    for n in 0..keys.len() {
        let kv = kv(scattered(n), n as i64);
        model.insert(kv.key.clone(), Arc::clone(&kv));
        tree.insert(kv);
    }
    assert_same(&tree, &model);
    for prefix_end in ["/registry/events/ns-3", "/registry/events/ns-5/e-8"] {
        let range = KeyRange::new(Bytes::from_static(b"/registry"), Bytes::from(prefix_end));
        assert_same_range(&tree, &model, &range);
    }
    for n in 0..keys.len() {
        let key = scattered(n);
        assert_eq!(tree.remove(&key), model.remove(&key));
        if n % 5_000 == 0 {
            assert_same(&tree, &model);
        }
    }
    assert!(tree.is_empty() && tree.root.is_none());
}

#[test]
fn ascending_keys_fill_the_leaves() {
    let mut tree = Tree::new();
    for n in 0..10_000u32 {
        tree.insert(kv(format!("/registry/pods/default/{n:08}"), 2));
    }
    tree.check();
    let leaves = node::leaves(tree.root.as_deref().expect("a root"));
    assert!(
        leaves <= 10_000 / (leaf::LEAF_ENTRIES - 2),
        "{leaves} leaves"
    );
}

#[test]
fn removing_an_absent_key_copies_nothing() {
    let mut tree = Tree::new();
    tree.insert(kv("a", 2));
    let copy = tree.clone();
    assert_eq!(tree.remove(b"b"), None);
    let (Some(a), Some(b)) = (&tree.root, &copy.root) else {
        panic!("both have a root")
    };
    assert!(Arc::ptr_eq(a, b));
}

#[test]
fn an_empty_tree_has_nothing() {
    let mut tree = Tree::new();
    let all = KeyRange::new(Bytes::from_static(b"\0"), Bytes::from_static(b"\0"));
    assert_eq!(
        (tree.get(b"a"), tree.count(&all), tree.range(&all).next()),
        (None, 0, None)
    );
    assert_eq!(tree.remove(b"a"), None);
}
