use bytes::Bytes;

use super::*;
use crate::mvcc::{History, LeaseId, NEVER_COMPACTED, RowId};

fn version(key: &'static str, mod_revision: i64, create_revision: i64, version: i64) -> KeyValue {
    KeyValue {
        key: Bytes::from_static(key.as_bytes()),
        value: Bytes::new(),
        create_revision: Revision::new(create_revision),
        mod_revision: Revision::new(mod_revision),
        version,
        lease: LeaseId::NONE,
        position: 0,
    }
}

fn tombstone(key: &'static str, mod_revision: i64) -> KeyValue {
    KeyValue::tombstone(
        Bytes::from_static(key.as_bytes()),
        Revision::new(mod_revision),
        0,
    )
}

use ChangeKind::{Delete, Put};

#[test]
fn a_table_without_rows_is_an_empty_store() {
    let (history, garbage) = Replay::new(NEVER_COMPACTED).finish();
    assert_eq!(
        (history.head().revision, garbage),
        (Revision::FIRST, vec![])
    );
}

#[test]
fn rows_of_one_revision_are_one_commit() {
    let mut replay = Replay::new(NEVER_COMPACTED);
    replay
        .row(Put, version("a", 2, 2, 1), Revision::NONE)
        .expect("continues");
    replay
        .row(
            Put,
            KeyValue {
                position: 1,
                ..version("b", 2, 2, 1)
            },
            Revision::NONE,
        )
        .expect("continues");
    replay
        .row(Delete, tombstone("a", 3), Revision::new(2))
        .expect("continues");
    let (history, _) = replay.finish();
    let commits = history
        .commits_from(Revision::NONE, 100)
        .expect("is not compacted");
    let shape: Vec<_> = commits
        .iter()
        .map(|c| (c.revision.number(), c.changes.len()))
        .collect();
    assert_eq!(shape, [(2, 2), (3, 1)]);
    assert_eq!(
        commits[1].changes[0]
            .prev
            .as_ref()
            .map(|prev| prev.mod_revision),
        Some(Revision::new(2))
    );
}

#[test]
fn rows_out_of_order_are_refused() {
    let mut replay = Replay::new(NEVER_COMPACTED);
    replay
        .row(Put, version("a", 3, 3, 1), Revision::NONE)
        .expect("continues");
    let refused = replay.row(Put, version("b", 2, 2, 1), Revision::NONE);
    assert_eq!(
        refused,
        Err(ReplayError::Order {
            row_id: RowId::new(Revision::new(2), 0),
            last: RowId::new(Revision::new(3), 0)
        })
    );
}

#[test]
fn a_lost_row_is_noticed_by_the_next_one_of_its_key() {
    for (row, prev_revision) in [
        // The put at 3 is lost.
        (version("a", 4, 2, 3), 3),
        // The put at 2 is not replaced by what says to create the key.
        (version("a", 4, 4, 1), 0),
    ] {
        let mut replay = Replay::new(Revision::new(2));
        replay
            .row(Put, version("a", 2, 2, 1), Revision::NONE)
            .expect("continues");
        let refused = replay.row(Put, row, Revision::new(prev_revision));
        let (row_id, found) = (RowId::new(Revision::new(4), 0), 2);
        assert_eq!(
            refused,
            Err(ReplayError::MissingVersion {
                row_id,
                prev_revision: Revision::new(prev_revision),
                found: Revision::new(found)
            })
        );
    }
}

#[test]
fn a_lost_row_is_not_taken_for_a_purged_one() {
    let mut replay = Replay::new(Revision::new(3));
    let refused = replay.row(Put, version("a", 4, 2, 2), Revision::new(2));
    let error = ReplayError::MissingVersion {
        row_id: RowId::new(Revision::new(4), 0),
        prev_revision: Revision::new(2),
        found: Revision::NONE,
    };
    assert_eq!(refused, Err(error));
}

#[test]
fn a_version_that_does_not_count_on_is_refused() {
    for row in [
        version("a", 3, 2, 3),
        version("a", 3, 3, 2),
        version("a", 3, 3, 1),
    ] {
        let mut replay = Replay::new(NEVER_COMPACTED);
        replay
            .row(Put, version("a", 2, 2, 1), Revision::NONE)
            .expect("continues");
        assert_eq!(
            replay.row(Put, row, Revision::new(2)),
            Err(ReplayError::Version {
                row_id: RowId::new(Revision::new(3), 0)
            })
        );
    }
}

#[test]
fn a_key_twice_in_one_revision_is_refused() {
    let mut replay = Replay::new(NEVER_COMPACTED);
    replay
        .row(Put, version("a", 2, 2, 1), Revision::NONE)
        .expect("continues");
    let second = KeyValue {
        position: 1,
        ..version("a", 2, 2, 2)
    };
    let refused = replay.row(Put, second, Revision::new(2));
    assert_eq!(
        refused,
        Err(ReplayError::SecondChange {
            row_id: RowId::new(Revision::new(2), 1)
        })
    );
}

#[test]
fn revisions_may_be_missing_in_a_table_but_not_after_a_known_head() {
    let mut replay = Replay::new(NEVER_COMPACTED);
    replay
        .row(Put, version("a", 7, 7, 1), Revision::NONE)
        .expect("continues");
    let (history, _) = replay.finish();
    let head = history.head();
    assert_eq!(head.revision, Revision::new(7));

    let mut replay = Replay::after(&head, NEVER_COMPACTED);
    let refused = replay.row(Put, version("b", 9, 9, 1), Revision::NONE);
    let error = ReplayError::MissingCommit {
        row_id: RowId::new(Revision::new(9), 0),
        current_revision: Revision::new(7),
    };
    assert_eq!(refused, Err(error));
}

#[test]
fn rows_after_a_known_head_become_commits_to_append() {
    let history = History::new();
    let mut replay = Replay::after(&history.head(), history.compact_revision());
    replay
        .row(Put, version("a", 2, 2, 1), Revision::NONE)
        .expect("continues");
    replay
        .row(Put, version("a", 3, 2, 2), Revision::new(2))
        .expect("continues");
    let (commits, tree) = replay.finish_commits();
    history.append(&commits, tree);
    assert_eq!(history.head().revision, Revision::new(3));
    assert_eq!(history.head().tree.get(b"a").map(|kv| kv.version), Some(2));
    assert_eq!(
        history
            .at(Revision::new(2))
            .expect("is readable")
            .tree
            .get(b"a")
            .map(|kv| kv.version),
        Some(1)
    );
}
