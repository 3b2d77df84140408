//! The lease table. Pure: the clock is an argument.
//!
//! Invariants: every attached key belongs to a live key-value with that lease; `by_expiry` holds
//! each lease exactly once. A TTL is a lower bound: after a restart a lease runs at least as long
//! as its last checkpoint said was left.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;

use crate::mvcc::LeaseId;

/// Milliseconds on a clock that never goes back.
pub type NowMs = u64;

/// The shortest lease, in seconds: what etcd grants at its default election timeout.
pub const MIN_TTL_S: i64 = 2;

/// The longest lease, in seconds: etcd's limit.
pub const MAX_TTL_S: i64 = 9_000_000_000;

#[derive(Debug)]
pub struct Lease {
    pub granted_ttl_s: i64,
    expires_ms: NowMs,
    /// The remaining TTL that a restart would give the lease, in seconds; the granted TTL until the
    /// first checkpoint.
    checkpoint_s: i64,
    keys: BTreeSet<Bytes>,
}

/// An answer to TimeToLive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseView {
    pub granted_ttl_s: i64,
    pub remaining_s: i64,
    pub keys: Vec<Bytes>,
}

/// A lease without its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseCopy {
    pub id: LeaseId,
    pub granted_ttl_s: i64,
    pub remaining_s: i64,
}

#[derive(Debug, Default)]
pub struct LeaseTable {
    leases: HashMap<LeaseId, Lease>,
    by_expiry: BTreeSet<(NowMs, LeaseId)>,
}

impl Lease {
    fn remaining_s(&self, now: NowMs) -> i64 {
        // Rounded up: a lease that still exists never reports 0, which means "unknown lease".
        self.expires_ms.saturating_sub(now).div_ceil(1000).max(1) as i64
    }
}

impl LeaseTable {
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    pub fn contains(&self, id: LeaseId) -> bool {
        self.leases.contains_key(&id)
    }

    /// Adds a lease that has `remaining_s` of its TTL left. The id must be free.
    pub fn insert(&mut self, id: LeaseId, granted_ttl_s: i64, remaining_s: i64, now: NowMs) {
        let expires_ms = now.saturating_add((remaining_s as u64).saturating_mul(1000));
        let lease = Lease {
            granted_ttl_s,
            expires_ms,
            checkpoint_s: remaining_s,
            keys: BTreeSet::new(),
        };
        assert!(
            self.leases.insert(id, lease).is_none(),
            "lease {id:x} inserted twice"
        );
        self.by_expiry.insert((expires_ms, id));
    }

    /// Removes a lease and returns its keys in key order.
    pub fn remove(&mut self, id: LeaseId) -> Option<BTreeSet<Bytes>> {
        let lease = self.leases.remove(&id)?;
        self.by_expiry.remove(&(lease.expires_ms, id));
        Some(lease.keys)
    }

    /// Returns whether a lease exists whose time is over but that is not revoked yet.
    pub fn is_over(&self, id: LeaseId, now: NowMs) -> bool {
        let lease = self.leases.get(&id);
        lease.is_some_and(|lease| lease.expires_ms <= now)
    }

    /// Gives the lease its full TTL again and returns it; none if there is no such lease.
    pub fn renew(&mut self, id: LeaseId, now: NowMs) -> Option<Renewal> {
        let lease = self.leases.get_mut(&id)?;
        self.by_expiry.remove(&(lease.expires_ms, id));
        lease.expires_ms = now.saturating_add(lease.granted_ttl_s as u64 * 1000);
        self.by_expiry.insert((lease.expires_ms, id));
        Some(Renewal {
            ttl_s: lease.granted_ttl_s,
            needs_checkpoint: lease.checkpoint_s < lease.granted_ttl_s,
        })
    }

    pub fn attach(&mut self, id: LeaseId, key: &Bytes) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.keys.insert(key.clone());
        }
    }

    pub fn detach(&mut self, id: LeaseId, key: &[u8]) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.keys.remove(key);
        }
    }

    pub fn view(&self, id: LeaseId, with_keys: bool, now: NowMs) -> Option<LeaseView> {
        let lease = self.leases.get(&id)?;
        Some(LeaseView {
            granted_ttl_s: lease.granted_ttl_s,
            remaining_s: lease.remaining_s(now),
            keys: if with_keys {
                lease.keys.iter().cloned().collect()
            } else {
                Vec::new()
            },
        })
    }

    /// All leases, the one that expires first in front.
    pub fn ids(&self) -> Vec<LeaseId> {
        self.by_expiry.iter().map(|(_, id)| *id).collect()
    }

    /// All leases in the order of their ids, for a copy of the store.
    pub fn copies(&self, now: NowMs) -> Vec<LeaseCopy> {
        let copy = |(id, lease): (&LeaseId, &Lease)| LeaseCopy {
            id: *id,
            granted_ttl_s: lease.granted_ttl_s,
            remaining_s: lease.remaining_s(now),
        };
        let mut copies: Vec<_> = self.leases.iter().map(copy).collect();
        copies.sort_unstable_by_key(|copy| copy.id);
        copies
    }

    /// Returns at most `limit` leases whose time is over, those that ended first before others.
    pub fn expired(&self, now: NowMs, limit: usize) -> Vec<LeaseId> {
        let over = self
            .by_expiry
            .iter()
            .take_while(|(expires_ms, _)| *expires_ms <= now);
        over.take(limit).map(|(_, id)| *id).collect()
    }

    /// Returns at most `limit` leases for which at least `step_s` seconds have passed since their
    /// stored checkpoint, with the seconds that are left, which a checkpoint should store now.
    pub fn stale_checkpoints(&self, now: NowMs, step_s: i64, limit: usize) -> Vec<(LeaseId, i64)> {
        let left = self
            .leases
            .iter()
            .map(|(id, lease)| (*id, lease, lease.remaining_s(now)));
        left.filter(|(_, lease, left_s)| lease.checkpoint_s - left_s >= step_s)
            .map(|(id, _, left_s)| (id, left_s))
            .take(limit)
            .collect()
    }

    /// Notes that `remaining_s` is what the database holds for the lease.
    pub fn checkpoint(&mut self, id: LeaseId, remaining_s: i64) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.checkpoint_s = remaining_s;
        }
    }

    /// The moment at which a lease expires, to carry it over to a table that is built anew.
    pub fn expires_ms(&self, id: LeaseId) -> Option<NowMs> {
        self.leases.get(&id).map(|lease| lease.expires_ms)
    }

    pub fn set_expires_ms(&mut self, id: LeaseId, expires_ms: NowMs) {
        if let Some(lease) = self.leases.get_mut(&id) {
            self.by_expiry.remove(&(lease.expires_ms, id));
            lease.expires_ms = expires_ms;
            self.by_expiry.insert((expires_ms, id));
        }
    }
}

/// A lease was given its full TTL again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    pub ttl_s: i64,
    /// The database still says that less is left.
    pub needs_checkpoint: bool,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Insert(LeaseId, i64),
        Remove(LeaseId),
        Renew(LeaseId),
        Attach(LeaseId, u8),
        Detach(LeaseId, u8),
        Pass(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let id = (1..6i64).prop_map(LeaseId::new);
        prop_oneof![
            (id.clone(), 2..20i64).prop_map(|(id, ttl)| Step::Insert(id, ttl)),
            id.clone().prop_map(Step::Remove),
            id.clone().prop_map(Step::Renew),
            (id.clone(), any::<u8>()).prop_map(|(id, key)| Step::Attach(id, key)),
            (id, any::<u8>()).prop_map(|(id, key)| Step::Detach(id, key)),
            (0..9000u64).prop_map(Step::Pass),
        ]
    }

    proptest! {
        #[test]
        fn the_table_agrees_with_a_plain_list(steps in proptest::collection::vec(step(), 0..200)) {
            let mut table = LeaseTable::default();
            let mut model: BTreeMap<LeaseId, (i64, u64, BTreeSet<Bytes>)> = BTreeMap::new();
            let mut now = 0;
            for step in steps {
                match step {
                    Step::Insert(id, ttl_s) => {
                        if model.contains_key(&id) { continue }
                        table.insert(id, ttl_s, ttl_s, now);
                        model.insert(id, (ttl_s, now + ttl_s as u64 * 1000, BTreeSet::new()));
                    }
                    Step::Remove(id) => {
                        prop_assert_eq!(table.remove(id), model.remove(&id).map(|lease| lease.2));
                    }
                    Step::Renew(id) => {
                        let renewed = table.renew(id, now).map(|renewal| renewal.ttl_s);
                        prop_assert_eq!(renewed, model.get(&id).map(|lease| lease.0));
                        if let Some(lease) = model.get_mut(&id) { lease.1 = now + lease.0 as u64 * 1000 }
                    }
                    Step::Attach(id, key) => {
                        let key = Bytes::copy_from_slice(&[key]);
                        table.attach(id, &key);
                        if let Some(lease) = model.get_mut(&id) { lease.2.insert(key); }
                    }
                    Step::Detach(id, key) => {
                        table.detach(id, &[key]);
                        if let Some(lease) = model.get_mut(&id) { lease.2.remove([key].as_slice()); }
                    }
                    Step::Pass(ms) => now += ms,
                }
                let mut over: Vec<_> = model.iter().filter(|(_, lease)| lease.1 <= now)
                    .map(|(id, lease)| (lease.1, *id)).collect();
                over.sort_unstable();
                let over: Vec<_> = over.into_iter().map(|(_, id)| id).collect();
                prop_assert_eq!(table.expired(now, usize::MAX), over);
                prop_assert_eq!(table.len(), model.len());
                for (id, lease) in &model {
                    let view = table.view(*id, true, now).unwrap();
                    prop_assert_eq!(view.granted_ttl_s, lease.0);
                    prop_assert_eq!(view.keys, lease.2.iter().cloned().collect::<Vec<_>>());
                    prop_assert!(view.remaining_s >= 1);
                }
            }
        }
    }

    #[test]
    fn a_checkpoint_is_due_when_enough_time_passed_since_the_last() {
        let mut table = LeaseTable::default();
        let id = LeaseId::new(1);
        table.insert(id, 3600, 3600, 0);
        assert_eq!(table.stale_checkpoints(299_000, 300, 10), []);
        assert_eq!(table.stale_checkpoints(300_000, 300, 10), [(id, 3300)]);
        table.checkpoint(id, 3300);
        assert_eq!(table.stale_checkpoints(300_000, 300, 10), []);
        let renewal = table.renew(id, 301_000).unwrap();
        assert_eq!(
            renewal,
            Renewal {
                ttl_s: 3600,
                needs_checkpoint: true
            }
        );
    }
}
