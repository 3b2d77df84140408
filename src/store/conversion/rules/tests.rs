use etcd_state::mvcc::{KeyValue, NEVER_COMPACTED, Replay, Revision};
use proptest::prelude::*;

use super::*;

fn row(revision: i64, name: &'static str) -> OldRow {
    OldRow {
        revision: Revision::new(revision),
        name: Bytes::from_static(name.as_bytes()),
        is_created: true,
        is_deleted: false,
        create_revision: Revision::NONE,
        prev_revision: Revision::NONE,
        ttl_s: 0,
    }
}

fn update(revision: i64, name: &'static str, create: i64, prev: i64) -> OldRow {
    OldRow {
        is_created: false,
        create_revision: Revision::new(create),
        prev_revision: Revision::new(prev),
        ..row(revision, name)
    }
}

fn deletion(revision: i64, name: &'static str, create: i64, prev: i64) -> OldRow {
    OldRow {
        is_deleted: true,
        ..update(revision, name, create, prev)
    }
}

/// Create revision, previous revision and version.
fn numbers(row: &NewRow) -> (i64, i64, i64) {
    let (create, prev) = (row.create_revision, row.prev_revision);
    (create.number(), prev.number(), row.version)
}

#[test]
fn puts_are_counted_from_the_creation_of_a_key() {
    let mut rules = Rules::new(NEVER_COMPACTED);
    let rows = [
        row(2, "a"),
        update(5, "a", 2, 2),
        deletion(6, "a", 2, 5),
        // Its previous row is the tombstone, which etcd does not count.
        OldRow {
            prev_revision: Revision::new(6),
            ..row(9, "a")
        },
    ];
    let made = rows.map(|row| numbers(&rules.convert(row).unwrap()));
    assert_eq!(made, [(2, 0, 1), (2, 2, 2), (0, 5, 0), (9, 0, 1)]);
    assert_eq!(rules.tally(), Tally::default());
}

#[test]
fn rows_of_the_store_itself_are_left_out() {
    let mut rules = Rules::new(NEVER_COMPACTED);
    let made = [
        row(1, "compact_rev_key"),
        row(2, "gap-2"),
        row(3, ""),
        row(4, "/registry/health"),
    ]
    .map(|row| rules.convert(row).is_some());
    assert_eq!(made, [false, false, false, true]);
    assert_eq!(rules.tally().left_out, 3);
}

#[test]
fn of_a_key_whose_creation_is_compacted_two_puts_are_known() {
    let mut rules = Rules::new(Revision::new(10));
    let made = rules.convert(update(9, "a", 3, 7)).unwrap();
    assert_eq!(numbers(&made), (3, 7, 2));
    let made = rules.convert(update(12, "a", 3, 9)).unwrap();
    assert_eq!(numbers(&made), (3, 9, 3));
}

#[test]
fn a_tombstone_at_the_compaction_stays_for_its_watchers() {
    let mut rules = Rules::new(Revision::new(10));
    assert_eq!(rules.convert(deletion(9, "a", 3, 7)), None);
    let made = rules.convert(deletion(10, "b", 3, 7)).unwrap();
    assert_eq!(
        (made.kind, made.prev_revision.number()),
        (ChangeKind::Delete, 7)
    );
}

#[test]
fn clients_find_the_lease_that_they_were_granted() {
    let mut rules = Rules::new(NEVER_COMPACTED);
    let leased = |revision, ttl_s| OldRow {
        ttl_s,
        ..row(revision, "event")
    };
    assert_eq!(
        rules.convert(leased(2, 3660)).unwrap().lease,
        LeaseId::new(3660)
    );
    rules.convert(deletion(3, "event", 2, 2)).unwrap();
    assert_eq!(rules.convert(leased(4, 1)).unwrap().lease, LeaseId::new(1));
    // The first one has no key any more, but a client may put with it the next moment.
    assert_eq!(
        rules.leases().into_iter().collect::<Vec<_>>(),
        [(LeaseId::new(1), MIN_TTL_S), (LeaseId::new(3660), 3660)]
    );
}

#[test]
fn no_lease_holds_more_keys_than_expire_well_at_once() {
    let mut rules = Rules::new(NEVER_COMPACTED);
    for revision in 2..2 + 2 * ROWS_PER_LEASE {
        let name = format!("event-{revision}").into();
        rules.convert(OldRow {
            ttl_s: 60,
            name,
            ..row(revision, "")
        });
    }
    let leases: Vec<_> = rules.leases().into_iter().collect();
    let ids = [60, 60 | 1 << TTL_BITS].map(LeaseId::new);
    assert_eq!(leases, ids.map(|id| (id, 60)));
}

fn histories() -> impl Strategy<Value = (Revision, Vec<OldRow>)> {
    const NAMES: [&str; 6] = ["a", "b", "c", "compact_rev_key", "gap-7", ""];
    let row = (
        1i64..4,
        prop::sample::select(&NAMES[..]),
        any::<(bool, bool)>(),
        -1i64..60,
        -1i64..60,
        prop::sample::select(vec![0i64, -5, 1, 60, i64::MAX]),
    );
    let rows = prop::collection::vec(row, 0..40).prop_map(|rows| {
        let mut revision = 0;
        let made = rows
            .into_iter()
            .map(|(step, name, flags, create, prev, ttl_s)| {
                revision += step;
                OldRow {
                    revision: Revision::new(revision),
                    name: name.into(),
                    is_created: flags.0,
                    is_deleted: flags.1,
                    create_revision: Revision::new(create),
                    prev_revision: Revision::new(prev),
                    ttl_s,
                }
            });
        made.collect()
    });
    ((-1i64..90).prop_map(Revision::new), rows)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever the table held, also what no program writes.
    #[test]
    fn what_is_made_can_be_loaded((compact_revision, rows) in histories()) {
        let mut rules = Rules::new(compact_revision);
        let mut replay = Replay::new(compact_revision).at_least(Revision::new(200));
        for old in rows {
            let Some(made) = rules.convert(old) else { continue };
            let kv = KeyValue {
                key: made.key,
                value: Bytes::new(),
                create_revision: made.create_revision,
                mod_revision: made.revision,
                version: made.version,
                lease: made.lease,
                position: 0,
            };
            let taken = replay.row(made.kind, kv, made.prev_revision);
            prop_assert!(taken.is_ok(), "{taken:?}");
        }
        let (history, _) = replay.finish();
        prop_assert_eq!(history.head().revision, Revision::new(200));
        prop_assert_eq!(history.head().tree.len(), rules.keys());
    }

    #[test]
    fn converting_goes_on_as_if_it_had_not_stopped(
        (compact_revision, rows) in histories(),
        at in any::<prop::sample::Index>(),
    ) {
        let at = at.index(rows.len() + 1);
        let mut whole = Rules::new(compact_revision);
        let expected: Vec<_> = rows.iter().cloned().filter_map(|row| whole.convert(row)).collect();
        let mut first = Rules::new(compact_revision);
        let mut made: Vec<_> =
            rows[..at].iter().cloned().filter_map(|row| first.convert(row)).collect();
        let mut second = Rules::new(compact_revision);
        made.iter().for_each(|row| second.made(row));
        made.extend(rows[at..].iter().cloned().filter_map(|row| second.convert(row)));
        prop_assert_eq!(made, expected);
        prop_assert_eq!(second.leases(), whole.leases());
    }
}
