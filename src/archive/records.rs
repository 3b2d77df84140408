//! Leases and settings beside the changes: what differs between two looks. Pure.

use std::collections::{HashMap, HashSet};

use archive::{Record, RecordChange};
use etcd_state::{
    lease::LeaseCopy,
    mvcc::{LeaseId, Revision},
    settings::{SettingChange, Settings, Space},
};

/// Leases and settings, as the archive has them.
#[derive(Debug, Default)]
pub struct KnownState {
    /// The granted TTL of each.
    leases: HashMap<LeaseId, i64>,
    settings: Settings,
    /// Leases that were granted in the last interval and were over at its end, or were granted after it. A key
    /// of the next one may have one.
    carried: Vec<LeaseCopy>,
}

/// The records of the next deltas.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// Take effect before the first change.
    pub first: Vec<Record>,
    /// Take effect with the last change.
    pub last: Vec<Record>,
    /// `last` has all leases and settings that there are.
    pub are_all: bool,
}

impl Records {
    /// Returns whether a delta is due although no key has changed.
    pub fn are_due(&self) -> bool {
        self.are_all || !self.first.is_empty() || !self.last.is_empty()
    }
}

/// The state at the end of an interval.
#[derive(Debug)]
pub struct Look<'a> {
    pub leases: &'a [LeaseCopy],
    pub settings: &'a Settings,
    /// Granted since the last look, whether they are over or not.
    pub granted: Vec<LeaseCopy>,
    /// The revision before the first change.
    pub above: Revision,
    /// That of the last one.
    pub up_to: Revision,
}

/// Returns the records of leases that keys after this revision may have, beside those that the archive knows.
pub fn granted_above(above: Revision, granted: &[LeaseCopy]) -> Vec<Record> {
    let leases = granted.iter().copied().map(RecordChange::Lease);
    let at_above = leases.map(|change| Record {
        revision: above,
        change,
    });
    at_above.collect()
}

/// Returns the records that lead from what is known to what was seen, and what is known then. Nothing is known by a node that
/// has just begun to lead: then all are recorded.
pub fn compare(known: Option<&KnownState>, look: Look<'_>) -> (Records, KnownState) {
    let (above, up_to) = (look.above, look.up_to);
    let at = |revision| move |change| Record { revision, change };
    let now: HashMap<_, _> = look
        .leases
        .iter()
        .map(|lease| (lease.id, lease.granted_ttl_s))
        .collect();
    let over: Vec<_> = look
        .granted
        .iter()
        .filter(|lease| !now.contains_key(&lease.id))
        .copied()
        .collect();
    let mut records = Records::default();
    let mut carried = Vec::new();
    match known {
        None => {
            let leases = look.leases.iter().copied().map(RecordChange::Lease);
            if above < up_to {
                // What is in between may be in several deltas, and a key in each may have any of them.
                records.first = leases.clone().map(at(above)).collect();
            }
            records.last = leases.map(at(up_to)).collect();
            let settings = all(look.settings).map(RecordChange::Setting);
            records.last.extend(settings.map(at(up_to)));
            records.are_all = true;
        }
        Some(known) => {
            carried.clone_from(&known.carried);
            let new = look.leases.iter().copied();
            let new = new.filter(|it| known.leases.get(&it.id) != Some(&it.granted_ttl_s));
            let new = new.map(|it| LeaseCopy {
                remaining_s: it.granted_ttl_s,
                ..it
            });
            records.first = new.map(RecordChange::Lease).map(at(above)).collect();
            let gone = known.leases.keys().filter(|id| !now.contains_key(id));
            let gone = gone.copied().map(RecordChange::LeaseRemoved);
            records.last = gone.map(at(up_to)).collect();
            let changed = settings_changed(&known.settings, look.settings);
            let changed = changed.into_iter().map(RecordChange::Setting);
            records.last.extend(changed.map(at(up_to)));
        }
    }
    // Of these, keys in between may be, but none at the end.
    let mut seen = HashSet::new();
    let brief: Vec<_> = carried
        .into_iter()
        .chain(over.iter().copied())
        .filter(|lease| !now.contains_key(&lease.id) && seen.insert(lease.id))
        .collect();
    // Alone they are no reason for a delta: no key has changed that could have them.
    if above < up_to || records.are_due() {
        let granted = brief.iter().copied().map(RecordChange::Lease);
        records.first.extend(granted.map(at(above)));
        let gone = brief
            .iter()
            .map(|lease| RecordChange::LeaseRemoved(lease.id));
        records.last.extend(gone.map(at(up_to)));
    }
    let known = KnownState {
        leases: now,
        settings: look.settings.clone(),
        carried: over,
    };
    (records, known)
}

fn all(settings: &Settings) -> impl Iterator<Item = SettingChange> {
    let spaces = Space::ALL.into_iter();
    spaces.flat_map(move |space| {
        settings
            .iter(space)
            .map(move |(name, value)| SettingChange {
                space,
                name: name.clone(),
                value: Some(value.clone()),
            })
    })
}

fn settings_changed(before: &Settings, now: &Settings) -> Vec<SettingChange> {
    let set = all(now).filter(|it| before.get(it.space, &it.name) != it.value.as_ref());
    let gone = all(before).filter(|it| now.get(it.space, &it.name).is_none());
    let gone = gone.map(|it| SettingChange { value: None, ..it });
    set.chain(gone).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn lease(id: i64) -> LeaseCopy {
        LeaseCopy {
            id: LeaseId::new(id),
            granted_ttl_s: 60,
            remaining_s: 60,
        }
    }

    fn look<'a>(leases: &'a [LeaseCopy], settings: &'a Settings, granted: &[i64]) -> Look<'a> {
        Look {
            leases,
            settings,
            granted: granted.iter().copied().map(lease).collect(),
            above: Revision::new(4),
            up_to: Revision::new(9),
        }
    }

    fn setting(value: Option<&'static str>) -> SettingChange {
        SettingChange {
            space: Space::User,
            name: Bytes::from_static(b"root"),
            value: value.map(Bytes::from_static_str),
        }
    }

    trait FromStaticStr {
        fn from_static_str(text: &'static str) -> Bytes;
    }

    impl FromStaticStr for Bytes {
        fn from_static_str(text: &'static str) -> Bytes {
            Bytes::from_static(text.as_bytes())
        }
    }

    fn changes(records: &[Record]) -> Vec<RecordChange> {
        records.iter().map(|record| record.change.clone()).collect()
    }

    #[test]
    fn a_new_leader_records_all_and_then_what_changes() {
        let mut settings = Settings::default();
        settings.apply(setting(Some("a")));
        let (records, known) = compare(None, look(&[lease(1)], &settings, &[]));
        assert!(records.are_all && records.are_due());
        let all = [
            RecordChange::Lease(lease(1)),
            RecordChange::Setting(setting(Some("a"))),
        ];
        assert_eq!(changes(&records.last), all);
        assert_eq!(changes(&records.first), [RecordChange::Lease(lease(1))]);
        let (records, known) = compare(Some(&known), look(&[lease(1)], &settings, &[]));
        assert_eq!(records, Records::default());
        settings.apply(setting(None));
        let (records, known) = compare(Some(&known), look(&[lease(2)], &settings, &[2]));
        assert_eq!(changes(&records.first), [RecordChange::Lease(lease(2))]);
        let last = [
            RecordChange::LeaseRemoved(LeaseId::new(1)),
            RecordChange::Setting(setting(None)),
        ];
        assert_eq!(changes(&records.last), last);
        let (records, _) = compare(Some(&known), look(&[lease(2)], &settings, &[]));
        assert!(!records.are_due());
    }

    #[test]
    fn a_lease_that_was_over_at_once_is_recorded_while_keys_may_have_it() {
        let settings = Settings::default();
        let (_, known) = compare(None, look(&[], &settings, &[]));
        let brief = |records: &Records| {
            assert_eq!(changes(&records.first), [RecordChange::Lease(lease(3))]);
            let gone = [RecordChange::LeaseRemoved(LeaseId::new(3))];
            assert_eq!(changes(&records.last), gone);
        };
        let (records, known) = compare(Some(&known), look(&[], &settings, &[3]));
        brief(&records);
        // It may have been granted after the last change of that look.
        let (records, known) = compare(Some(&known), look(&[], &settings, &[]));
        brief(&records);
        let (records, known) = compare(Some(&known), look(&[], &settings, &[]));
        assert_eq!(records, Records::default());
        let mut idle = look(&[], &settings, &[4]);
        idle.above = idle.up_to;
        let (records, _) = compare(Some(&known), idle);
        assert!(!records.are_due());
    }

    #[test]
    fn a_new_leader_records_what_keys_of_its_backlog_may_have() {
        let settings = Settings::default();
        let (records, _) = compare(None, look(&[lease(1)], &settings, &[1, 3]));
        let first = [RecordChange::Lease(lease(1)), RecordChange::Lease(lease(3))];
        assert_eq!(changes(&records.first), first);
        let last = [
            RecordChange::Lease(lease(1)),
            RecordChange::LeaseRemoved(LeaseId::new(3)),
        ];
        assert_eq!(changes(&records.last), last);
    }

    #[test]
    fn what_is_left_of_a_lease_is_no_change() {
        let settings = Settings::default();
        let (_, known) = compare(None, look(&[lease(1)], &settings, &[]));
        let less = LeaseCopy {
            remaining_s: 5,
            ..lease(1)
        };
        let (records, _) = compare(Some(&known), look(&[less], &settings, &[]));
        assert!(!records.are_due());
    }
}
