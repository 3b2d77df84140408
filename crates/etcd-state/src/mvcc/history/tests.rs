use bytes::Bytes;
use proptest::prelude::*;

use super::model::{Model, Op, Step, steps};
use super::*;
use crate::mvcc::{ChangeKind, Replay};

fn append(history: &History, model: &mut Model, transactions: &[Vec<Op>]) {
    let commits: Vec<_> = transactions
        .iter()
        .filter_map(|ops| model.commit(ops))
        .collect();
    let mut tree = history.head().tree.clone();
    commits.iter().for_each(|commit| tree.apply(commit));
    history.append(&commits, tree);
}

fn filled(transactions: &[Vec<Op>]) -> (History, Model) {
    let (history, mut model) = (History::new(), Model::new());
    append(&history, &mut model, transactions);
    (history, model)
}

fn compact(history: &History, model: &mut Model, revision: Revision) {
    let found = history.compact(revision);
    let refused = if revision <= model.compact_revision {
        Some(HistoryError::Compacted {
            compact_revision: model.compact_revision,
        })
    } else if revision > model.revision() {
        Some(HistoryError::Future {
            current_revision: model.revision(),
        })
    } else {
        None
    };
    assert_eq!(
        found,
        refused.map_or_else(|| Ok(model.compact(revision)), Err)
    );
}

/// Loads the model's rows, as after a restart.
fn replay(model: &Model) -> (History, Vec<RowId>) {
    let mut replay = Replay::new(model.compact_revision);
    for row in model.rows.values() {
        let prev_revision = row
            .prev
            .as_ref()
            .map_or(Revision::NONE, |prev| prev.mod_revision);
        replay
            .row(row.kind, (*row.kv).clone(), prev_revision)
            .expect("the rows are complete");
    }
    replay.finish()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn behaves_like_a_list_of_all_states(steps in steps()) {
        let (history, mut model) = (History::new(), Model::new());
        let mut held = Vec::new();
        for step in steps {
            match step {
                Step::Append(transactions) => append(&history, &mut model, &transactions),
                Step::Compact(share) => {
                    let revision = model.share(share);
                    compact(&history, &mut model, revision);
                }
                Step::Read(share) => {
                    let revision = model.share(share).max(Revision::FIRST);
                    model.assert_same_at(&history, revision);
                    held.extend(history.at(revision));
                }
            }
        }
        model.assert_same(&history);
        let (compact_revision, rows) = history.rows_to_compaction();
        let needed = model.needed();
        let needed: Vec<_> = needed.range(..=RowId::last_of(compact_revision)).copied().collect();
        prop_assert_eq!(rows, needed);
        let (replayed, garbage) = replay(&model);
        prop_assert_eq!(garbage, Vec::<RowId>::new());
        model.assert_same(&replayed);
        model.assert_same_versions(&history);
        model.assert_same_versions(&replayed);
        for snapshot in held {
            let expected = model.state(snapshot.revision).values();
            prop_assert!(snapshot.tree.iter().eq(expected), "compaction changed a held snapshot");
        }
    }

    #[test]
    fn finds_again_what_an_interrupted_purge_left(
        transactions in prop::collection::vec(
            prop::collection::vec(
                prop_oneof![(0..9u8).prop_map(Op::Put), (0..9u8).prop_map(Op::Delete)], 1..4),
            1..60),
        (compacted, purged) in (0.0..=1.0, 0.0..=1.0),
    ) {
        let (_, mut model) = filled(&transactions);
        model.compact_revision = model.share(compacted);
        let needed = model.needed();
        let garbage: Vec<_> =
            model.rows.keys().filter(|id| !needed.contains(id)).copied().collect();
        let (gone, left) = garbage.split_at((garbage.len() as f64 * purged) as usize);
        for row in gone {
            model.rows.remove(row);
        }
        let (history, found) = replay(&model);
        prop_assert_eq!(&found, left);
        model.assert_same(&history);
    }
}

#[test]
fn an_empty_store_is_at_revision_1_and_was_never_compacted() {
    let history = History::new();
    assert_eq!(
        (history.head().revision, history.compact_revision()),
        (Revision::FIRST, NEVER_COMPACTED)
    );
    assert_eq!(
        history
            .at(Revision::new(1))
            .expect("is readable")
            .tree
            .len(),
        0
    );
    assert_eq!(
        history.at(Revision::new(2)).err(),
        Some(HistoryError::Future {
            current_revision: Revision::new(1)
        })
    );
    assert_eq!(
        history
            .commits_from(Revision::NONE, 10)
            .expect("is not compacted")
            .len(),
        0
    );
}

#[test]
fn a_fresh_store_can_be_compacted_at_revision_0_once() {
    let history = History::new();
    assert_eq!(
        history.compact(Revision::new(-1)),
        Err(HistoryError::Compacted {
            compact_revision: Revision::new(-1)
        })
    );
    assert_eq!(history.compact(Revision::NONE), Ok(vec![]));
    assert_eq!(
        history.compact(Revision::NONE),
        Err(HistoryError::Compacted {
            compact_revision: Revision::NONE
        })
    );
    assert_eq!(
        history.compact(Revision::new(2)),
        Err(HistoryError::Future {
            current_revision: Revision::new(1)
        })
    );
}

#[test]
fn revision_0_and_below_read_the_head() {
    let (history, model) = filled(&[vec![Op::Put(1)], vec![Op::Put(2)]]);
    for revision in [Revision::NONE, Revision::new(-1), Revision::MIN] {
        assert_eq!(
            history.at(revision).expect("the head").revision,
            model.revision()
        );
    }
}

#[test]
fn the_compaction_revision_stays_readable_and_watchable() {
    let (history, mut model) = filled(&[
        vec![Op::Put(1)],
        vec![Op::Delete(1)],
        vec![Op::Put(2)],
        vec![Op::Put(2)],
    ]);
    compact(&history, &mut model, Revision::new(3));
    assert_eq!(
        history
            .at(Revision::new(3))
            .expect("is readable")
            .tree
            .len(),
        0
    );
    assert_eq!(
        history.at(Revision::new(2)).err(),
        Some(HistoryError::Compacted {
            compact_revision: Revision::new(3)
        })
    );
    let commits = history
        .commits_from(Revision::new(3), 100)
        .expect("is watchable");
    assert_eq!(commits.len(), 3);
    assert_eq!(commits[0].changes[0].kind, ChangeKind::Delete);
    assert_eq!(commits[0].changes[0].visible_prev(Revision::new(3)), None);
    let refused = history.commits_from(Revision::new(2), 100).err();
    assert_eq!(
        refused,
        Some(HistoryError::Compacted {
            compact_revision: Revision::new(3)
        })
    );
}

#[test]
fn a_tombstone_at_the_compaction_revision_goes_with_the_next_compaction() {
    let (history, _) = filled(&[vec![Op::Put(1)], vec![Op::Delete(1)], vec![Op::Put(2)]]);
    assert_eq!(
        history.compact(Revision::new(3)),
        Ok(vec![RowId::new(Revision::new(2), 0)])
    );
    assert_eq!(
        history.compact(Revision::new(4)),
        Ok(vec![RowId::new(Revision::new(3), 0)])
    );
}

#[test]
fn a_version_older_than_the_last_compaction_goes_once_it_is_superseded() {
    let (history, mut model) = filled(&[vec![Op::Put(1)], vec![Op::Put(2)]]);
    assert_eq!(history.compact(Revision::new(3)), Ok(vec![]));
    model.compact_revision = Revision::new(3);
    append(&history, &mut model, &[vec![Op::Put(1)]]);
    assert_eq!(
        history.compact(Revision::new(4)),
        Ok(vec![RowId::new(Revision::new(2), 0)])
    );
}

#[test]
fn a_limit_below_one_commit_still_returns_one() {
    let (history, _) = filled(&[vec![Op::Put(1), Op::Put(2), Op::Put(3)], vec![Op::Put(1)]]);
    let revisions = |max_changes| {
        let commits = history
            .commits_from(Revision::new(1), max_changes)
            .expect("is not compacted");
        commits
            .iter()
            .map(|commit| commit.revision.number())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (revisions(0), revisions(3), revisions(4)),
        (vec![2], vec![2], vec![2, 3])
    );
    assert!(
        history
            .commits_from(Revision::new(4), 10)
            .expect("the future is not an error")
            .is_empty()
    );
}

#[test]
#[should_panic(expected = "a commit is missing")]
fn a_gap_in_what_is_appended_is_refused() {
    let (history, mut model) = filled(&[vec![Op::Put(1)]]);
    model.commit(&[Op::Put(2)]).expect("a commit");
    append(&history, &mut model, &[vec![Op::Put(3)]]);
}

#[test]
fn checkpoints_stay_few_however_long_the_log() {
    let (history, mut model) = (History::new(), Model::new());
    for n in 0..600u32 {
        let transactions: Vec<_> = (0..32u32)
            .map(|m| vec![Op::Put(((n * 7 + m * 11) % 24) as u8)])
            .collect();
        append(&history, &mut model, &transactions);
    }
    let size = history.size();
    assert!(
        size.changes > 19_000 && (4..=8).contains(&size.checkpoints),
        "{size:?}"
    );
    for share in [0.001, 0.1, 0.33, 0.5, 0.77, 0.999] {
        model.assert_same_at(&history, model.share(share).max(Revision::FIRST));
    }
    let current = model.revision();
    compact(&history, &mut model, current);
    assert!(history.size().checkpoints <= 1);
}

#[test]
fn many_readers_of_one_past_revision_share_its_tree() {
    let (history, model) = filled(&vec![vec![Op::Put(1)]; 100]);
    let snapshots: Vec<_> = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| history.at(Revision::new(50)).expect("is readable")))
            .collect();
        readers
            .into_iter()
            .map(|reader| reader.join().expect("did not panic"))
            .collect()
    });
    assert!(
        snapshots
            .iter()
            .all(|snapshot| Arc::ptr_eq(snapshot, &snapshots[0]))
    );
    model.assert_same_at(&history, Revision::new(50));
}

#[test]
fn readers_and_a_compaction_meet_at_the_lock() {
    let (history, mut model) = filled(&vec![vec![Op::Put(1), Op::Put(2)]; 400]);
    std::thread::scope(|scope| {
        let compaction = scope.spawn(|| {
            (10..400)
                .filter(|at| history.compact(Revision::new(*at)).is_ok())
                .count()
        });
        for revision in (2..400).rev().map(Revision::new) {
            match history.at(revision) {
                Ok(snapshot) => {
                    assert_eq!(
                        snapshot
                            .tree
                            .get(b"/registry/key-1")
                            .map(|kv| kv.mod_revision),
                        Some(revision)
                    );
                }
                Err(HistoryError::Compacted { compact_revision }) => {
                    assert!(revision < compact_revision);
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(compaction.join().expect("did not panic"), 390);
    });
    model.compact(Revision::new(399));
    model.assert_same(&history);
}

#[test]
fn a_restored_store_is_the_one_that_was() {
    let (history, mut model) = filled(&[vec![Op::Put(1)], vec![Op::Put(2)], vec![Op::Delete(1)]]);
    compact(&history, &mut model, Revision::new(3));
    let head = history.head();
    let commits = history
        .commits_from(Revision::new(3), usize::MAX)
        .expect("is not compacted");
    let restored = History::restore(head.tree.clone(), head.revision, Revision::new(3), commits);
    assert_eq!(restored.size(), history.size());
    append(&restored, &mut model, &[vec![Op::Put(9)]]);
    model.assert_same(&restored);
    assert_eq!(
        restored
            .head()
            .tree
            .get(&Bytes::from("/registry/key-9"))
            .map(|kv| kv.version),
        Some(1)
    );
}
