//! The rules by which a row of the Go k8s-dqlite is converted. Pure.
//!
//! Rows are taken in the order of their ids, each once. Later rows depend only on the newest
//! version of each living key and on how many rows had which TTL, and both can be restored from the
//! rows that were made: so the conversion can stop after any row, and go on in another process.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use etcd_state::{
    lease::{MAX_TTL_S, MIN_TTL_S},
    mvcc::{ChangeKind, LeaseId, Revision},
};

/// The key under which the Go k8s-dqlite keeps its compaction revision; not a key of a client.
const COMPACTION_KEY: &[u8] = b"compact_rev_key";

/// Keys of older versions that fill holes among the ids.
const FILL_PREFIX: &[u8] = b"gap-";

/// Rows that share a lease, and so expire together: as many objects as kube-apiserver attaches to one.
const ROWS_PER_LEASE: i64 = 1000;

/// The bits of a lease id that hold the TTL: enough for the largest TTL.
const TTL_BITS: u32 = 34;
const _: () = assert!(MAX_TTL_S < 1 << TTL_BITS);

/// A row, its values left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldRow {
    pub revision: Revision,
    pub name: Bytes,
    pub is_created: bool,
    pub is_deleted: bool,
    pub create_revision: Revision,
    pub prev_revision: Revision,
    pub ttl_s: i64,
}

/// A row of the change table, its value left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRow {
    pub revision: Revision,
    pub key: Bytes,
    pub kind: ChangeKind,
    pub create_revision: Revision,
    pub prev_revision: Revision,
    pub version: i64,
    pub lease: LeaseId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Living {
    revision: Revision,
    create_revision: Revision,
    version: i64,
    lease: LeaseId,
}

/// Rows that were not taken as they were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Fill rows, compaction rows, and tombstones of what is compacted.
    pub left_out: u64,
    /// Creations of a living key, updates and deletions of one that is not there.
    pub odd: u64,
}

#[derive(Debug)]
pub struct Rules {
    compact_revision: Revision,
    living: HashMap<Bytes, Living>,
    rows_by_ttl: BTreeMap<i64, i64>,
    tally: Tally,
}

impl Rules {
    pub fn new(compact_revision: Revision) -> Self {
        Self {
            compact_revision,
            living: HashMap::new(),
            rows_by_ttl: BTreeMap::new(),
            tally: Tally::default(),
        }
    }

    /// Notes a row that the conversion made, now or in an earlier step.
    pub fn made(&mut self, row: &NewRow) {
        match row.kind {
            ChangeKind::Put => {
                let living = Living {
                    revision: row.revision,
                    create_revision: row.create_revision,
                    version: row.version,
                    lease: row.lease,
                };
                self.living.insert(row.key.clone(), living);
                if !row.lease.is_none() {
                    *self.rows_by_ttl.entry(ttl_of(row.lease)).or_default() += 1;
                }
            }
            ChangeKind::Delete => {
                self.living.remove(&row.key);
            }
        }
    }

    /// Converts the next row; none if no row is made of it.
    pub fn convert(&mut self, old: OldRow) -> Option<NewRow> {
        let is_key = !old.name.is_empty()
            && &old.name[..] != COMPACTION_KEY
            && !old.name.starts_with(FILL_PREFIX);
        let made = is_key.then(|| match old.is_deleted {
            true => self.tombstone(old),
            false => Some(self.put(old)),
        });
        let made = made.flatten();
        match &made {
            Some(row) => self.made(row),
            None => self.tally.left_out += 1,
        }
        made
    }

    fn tombstone(&mut self, old: OldRow) -> Option<NewRow> {
        let prev_revision = match self.living.get(&old.name) {
            Some(prev) => prev.revision,
            // Who watches from the compaction revision sees it still.
            None if old.revision == self.compact_revision && old.revision > Revision::FIRST => {
                replaced(&old, Revision::FIRST)
            }
            None => {
                self.tally.odd += u64::from(old.revision > self.compact_revision);
                return None;
            }
        };
        Some(NewRow {
            revision: old.revision,
            key: old.name,
            kind: ChangeKind::Delete,
            create_revision: Revision::NONE,
            prev_revision,
            version: 0,
            lease: LeaseId::NONE,
        })
    }

    fn put(&mut self, old: OldRow) -> NewRow {
        let prev = self.living.get(&old.name);
        let is_compacted = old.revision <= self.compact_revision;
        let knows_creation = (Revision::FIRST..old.revision).contains(&old.create_revision);
        let (create_revision, prev_revision, version) = match prev {
            Some(prev) => {
                self.tally.odd += u64::from(old.is_created);
                (prev.create_revision, prev.revision, prev.version + 1)
            }
            // The versions before it are gone: there was one at least.
            None if !old.is_created && is_compacted && knows_creation => {
                let prev_revision = replaced(&old, old.create_revision);
                (old.create_revision, prev_revision, 2)
            }
            None => {
                self.tally.odd += u64::from(!old.is_created);
                (old.revision, Revision::NONE, 1)
            }
        };
        NewRow {
            revision: old.revision,
            kind: ChangeKind::Put,
            create_revision,
            prev_revision,
            version,
            lease: self.next_lease(old.ttl_s),
            key: old.name,
        }
    }

    /// The id that clients of the Go k8s-dqlite know is the TTL itself: it is the first one's.
    fn next_lease(&self, ttl_s: i64) -> LeaseId {
        if ttl_s <= 0 {
            return LeaseId::NONE;
        }
        let ttl_s = ttl_s.min(MAX_TTL_S);
        let rows = self.rows_by_ttl.get(&ttl_s).copied().unwrap_or(0);
        LeaseId::new(ttl_s | (rows / ROWS_PER_LEASE) << TTL_BITS)
    }

    /// The leases that exist at the end, with their TTL: those of living keys, and one for each TTL that any row
    /// had, since a client may have been granted it a moment before.
    pub fn leases(&self) -> BTreeSet<(LeaseId, i64)> {
        let attached = self.living.values().map(|living| living.lease);
        let granted = self.rows_by_ttl.keys().map(|ttl_s| LeaseId::new(*ttl_s));
        let ids = attached.chain(granted).filter(|id| !id.is_none());
        ids.map(|id| (id, ttl_of(id).clamp(MIN_TTL_S, MAX_TTL_S)))
            .collect()
    }

    pub fn keys(&self) -> usize {
        self.living.len()
    }

    pub fn tally(&self) -> Tally {
        self.tally
    }
}

fn ttl_of(lease: LeaseId) -> i64 {
    lease.number() & ((1 << TTL_BITS) - 1)
}

/// The revision of the version that a row replaced, if it may have been that one; else another that may.
fn replaced(old: &OldRow, least: Revision) -> Revision {
    if (least..old.revision).contains(&old.prev_revision) {
        old.prev_revision
    } else {
        old.revision.previous()
    }
}

#[cfg(test)]
mod tests;
