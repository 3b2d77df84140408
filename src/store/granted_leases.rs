//! The leases that were granted lately, for the archive: one that is over before the archive looks again may still be that of a
//! key in between.

use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
};

use etcd_state::lease::LeaseCopy;

use super::batch::Record;

/// Leases that are remembered: 6,500 a second in the interval of 10 s. Of more, the archive lacks those that were granted and
/// over between two of its deltas.
const MAX_LEASES: usize = 65_536;

#[derive(Debug, Default)]
pub struct GrantedLeases {
    is_noted: AtomicBool,
    leases: Mutex<Vec<LeaseCopy>>,
}

impl GrantedLeases {
    /// Remembers leases from now on.
    pub fn note(&self) {
        self.is_noted.store(true, Ordering::Relaxed);
    }

    /// Remembers those of committed records.
    pub fn push(&self, records: &[Record]) {
        if records.is_empty() || !self.is_noted.load(Ordering::Relaxed) {
            return;
        }
        let granted = records.iter().filter_map(|record| match *record {
            Record::LeaseGranted { id, granted_ttl_s } => Some(LeaseCopy {
                id,
                granted_ttl_s,
                remaining_s: granted_ttl_s,
            }),
            _ => None,
        });
        let mut leases = self.lock();
        let room = MAX_LEASES - leases.len();
        leases.extend(granted.take(room));
    }

    pub fn remembered(&self) -> Vec<LeaseCopy> {
        self.lock().clone()
    }

    /// Forgets the oldest ones.
    pub fn forget(&self, count: usize) {
        let mut leases = self.lock();
        let count = count.min(leases.len());
        leases.drain(..count);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<LeaseCopy>> {
        self.leases.lock().expect("no panic while it is held")
    }
}

#[cfg(test)]
mod tests {
    use etcd_state::mvcc::LeaseId;

    use super::*;

    #[test]
    fn grants_are_remembered_once_somebody_wants_them_and_within_bounds() {
        let granted = |id| Record::LeaseGranted {
            id: LeaseId::new(id),
            granted_ttl_s: 7,
        };
        let leases = GrantedLeases::default();
        leases.push(&[granted(1)]);
        assert!(leases.remembered().is_empty());
        leases.note();
        let removed = Record::LeaseRemoved {
            id: LeaseId::new(2),
        };
        leases.push(&[granted(2), removed]);
        let ids = || -> Vec<_> {
            let remembered = leases.remembered();
            remembered.iter().map(|lease| lease.id.number()).collect()
        };
        assert_eq!(ids(), [2]);
        leases.push(&[granted(3)]);
        leases.forget(1);
        assert_eq!(ids(), [3]);
        leases.forget(9);
        let many: Vec<_> = (0..MAX_LEASES as i64 + 9).map(granted).collect();
        leases.push(&many);
        leases.push(&many);
        assert_eq!(leases.remembered().len(), MAX_LEASES);
    }
}
