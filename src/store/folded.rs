//! The net effect of the records of one batch. Pure.
//!
//! A batch is written as a whole or not at all, so only the net effect counts. Few statements with
//! many rows write it, since each statement is a round trip to the engine. After an unknown outcome
//! it is what the tables hold if the batch was written.

use std::collections::BTreeMap;

use etcd_state::{
    mvcc::{LeaseId, Revision},
    settings::{SettingChange, Space},
};

use super::batch::Record;

/// The change of one row of table `lease`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseFate {
    /// The row was not there before, or was deleted by the same batch.
    Inserted {
        granted_ttl_s: i64,
        remaining_s: i64,
    },
    /// The row was there, and stays.
    Checkpointed {
        remaining_s: i64,
    },
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoldedLease {
    pub fate: LeaseFate,
    /// The row may be there before: it is deleted first.
    pub is_removed: bool,
}

#[derive(Debug, Default)]
pub struct Folded<'a> {
    pub leases: BTreeMap<LeaseId, FoldedLease>,
    pub settings: BTreeMap<(Space, &'a [u8]), &'a SettingChange>,
    pub compact_revision: Option<Revision>,
}

impl<'a> Folded<'a> {
    pub fn new(records: &'a [Record]) -> Self {
        let mut folded = Self::default();
        for record in records {
            match *record {
                Record::LeaseGranted { id, granted_ttl_s } => folded.grant(id, granted_ttl_s),
                Record::LeaseRemoved { id } => {
                    let fate = LeaseFate::Gone;
                    let is_removed = true;
                    folded.leases.insert(id, FoldedLease { fate, is_removed });
                }
                Record::LeaseCheckpoint { id, remaining_s } => folded.checkpoint(id, remaining_s),
                Record::Compacted { revision } => folded.compact_revision = Some(revision),
                Record::Setting(ref change) => {
                    let subject = (change.space, &change.name[..]);
                    folded.settings.insert(subject, change);
                }
            }
        }
        folded
    }

    fn grant(&mut self, id: LeaseId, granted_ttl_s: i64) {
        let fate = LeaseFate::Inserted {
            granted_ttl_s,
            remaining_s: granted_ttl_s,
        };
        let is_removed = self.leases.get(&id).is_some_and(|lease| lease.is_removed);
        self.leases.insert(id, FoldedLease { fate, is_removed });
    }

    fn checkpoint(&mut self, id: LeaseId, now_left_s: i64) {
        let lease = self.leases.entry(id).or_insert(FoldedLease {
            fate: LeaseFate::Checkpointed {
                remaining_s: now_left_s,
            },
            is_removed: false,
        });
        match &mut lease.fate {
            LeaseFate::Inserted { remaining_s, .. } | LeaseFate::Checkpointed { remaining_s } => {
                *remaining_s = now_left_s;
            }
            LeaseFate::Gone => {}
        }
    }

    /// Leases whose rows are deleted, before any is inserted.
    pub fn removed(&self) -> Vec<LeaseId> {
        let removed = self.leases.iter().filter(|(_, lease)| lease.is_removed);
        removed.map(|(id, _)| *id).collect()
    }

    /// Rows that are inserted: id, granted TTL and what is left of it, in seconds.
    pub fn inserted(&self) -> Vec<[i64; 3]> {
        let inserted = |(id, lease): (&LeaseId, &FoldedLease)| match lease.fate {
            LeaseFate::Inserted {
                granted_ttl_s,
                remaining_s,
            } => Some([id.number(), granted_ttl_s, remaining_s]),
            _ => None,
        };
        self.leases.iter().filter_map(inserted).collect()
    }

    /// Rows that are updated: id, and what is left in seconds.
    pub fn checkpointed(&self) -> Vec<[i64; 2]> {
        let checkpointed = |(id, lease): (&LeaseId, &FoldedLease)| match lease.fate {
            LeaseFate::Checkpointed { remaining_s } => Some([id.number(), remaining_s]),
            _ => None,
        };
        self.leases.iter().filter_map(checkpointed).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Table = BTreeMap<LeaseId, (i64, i64)>;

    fn record() -> impl Strategy<Value = Record> {
        let id = (1..5i64).prop_map(LeaseId::new);
        prop_oneof![
            (id.clone(), 2..20i64)
                .prop_map(|(id, granted_ttl_s)| Record::LeaseGranted { id, granted_ttl_s }),
            id.clone().prop_map(|id| Record::LeaseRemoved { id }),
            (id, 1..20i64)
                .prop_map(|(id, remaining_s)| Record::LeaseCheckpoint { id, remaining_s }),
        ]
    }

    /// Applies a record as a statement of its own; false if the engine would refuse it.
    fn apply(table: &mut Table, record: &Record) -> bool {
        match *record {
            Record::LeaseGranted { id, granted_ttl_s } => {
                if table.contains_key(&id) {
                    return false;
                }
                table.insert(id, (granted_ttl_s, granted_ttl_s));
            }
            Record::LeaseRemoved { id } => drop(table.remove(&id)),
            Record::LeaseCheckpoint { id, remaining_s } => {
                if let Some(row) = table.get_mut(&id) {
                    row.1 = remaining_s;
                }
            }
            Record::Compacted { .. } | Record::Setting(_) => {}
        }
        true
    }

    proptest! {
        #[test]
        fn few_statements_leave_the_same_table_as_one_per_record(
            before in proptest::collection::btree_map((1..5i64).prop_map(LeaseId::new), (2..20i64, 1..20i64), 0..4),
            records in proptest::collection::vec(record(), 0..20),
        ) {
            let mut expected: Table = before.clone();
            let records: Vec<_> = records.into_iter()
                .filter(|record| apply(&mut expected, record)).collect();
            let folded = Folded::new(&records);
            let mut table = before;
            for id in folded.removed() {
                table.remove(&id);
            }
            for [id, granted_ttl_s, remaining_s] in folded.inserted() {
                prop_assert_eq!(table.insert(LeaseId::new(id), (granted_ttl_s, remaining_s)), None);
            }
            for [id, remaining_s] in folded.checkpointed() {
                if let Some(row) = table.get_mut(&LeaseId::new(id)) {
                    row.1 = remaining_s;
                }
            }
            prop_assert_eq!(table, expected);
        }
    }

    #[test]
    fn a_grant_after_a_removal_wins_and_replaces_the_row() {
        let id = LeaseId::new(7);
        let records = [
            Record::LeaseRemoved { id },
            Record::LeaseGranted {
                id,
                granted_ttl_s: 20,
            },
        ];
        let folded = Folded::new(&records);
        assert_eq!(folded.removed(), [id]);
        assert_eq!(folded.inserted(), [[7, 20, 20]]);
    }

    #[test]
    fn the_last_compaction_and_the_last_value_of_a_setting_count() {
        let set = |value: Option<&'static str>| {
            Record::Setting(SettingChange {
                space: Space::User,
                name: "root".into(),
                value: value.map(Into::into),
            })
        };
        let records = [
            Record::Compacted {
                revision: Revision::new(3),
            },
            set(Some("a")),
            Record::Compacted {
                revision: Revision::new(5),
            },
            set(None),
        ];
        let folded = Folded::new(&records);
        assert_eq!(folded.compact_revision, Some(Revision::new(5)));
        let values: Vec<_> = folded
            .settings
            .values()
            .map(|change| &change.value)
            .collect();
        assert_eq!(values, [&None]);
    }
}
