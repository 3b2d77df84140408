//! The names in a place, and which of them matter for a revision.

use std::collections::BTreeMap;

use etcd_state::mvcc::Revision;

use crate::{BaseName, DeltaName, ObjectName};

/// The names of an archive's objects, with their bytes in the store. A list may be late: objects that are there can be missing from it at its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    pub bases: BTreeMap<BaseName, u64>,
    pub deltas: BTreeMap<DeltaName, u64>,
}

impl Listing {
    pub fn insert(&mut self, name: ObjectName, bytes: u64) {
        match name {
            ObjectName::Base(name) => self.bases.insert(name, bytes),
            ObjectName::Delta(name) => self.deltas.insert(name, bytes),
        };
    }

    /// Returns whether nothing of an archive was found.
    pub fn is_empty(&self) -> bool {
        self.bases.is_empty() && self.deltas.is_empty()
    }

    /// Returns the bases that could lead to a revision, the best one first.
    pub fn bases_up_to(&self, revision: Revision) -> impl Iterator<Item = BaseName> {
        let last = BaseName {
            revision,
            nonce: u64::MAX,
        };
        self.bases.range(..=last).rev().map(|(name, _)| *name)
    }

    /// Returns the deltas of which one announces a base, if any does: the last one that begins at its revision or before, which
    /// does so after a gap, and those that begin with the revision after.
    pub fn announcements_of(&self, base: BaseName) -> impl Iterator<Item = DeltaName> {
        let next = |revision, number| DeltaName {
            first: revision,
            number,
        };
        let after = base.revision.next();
        let continuing = self.deltas.range(next(after, 0)..=next(after, u32::MAX));
        let before = self.deltas.range(..next(after, 0)).next_back();
        continuing.chain(before).map(|(name, _)| *name)
    }

    /// Returns the deltas behind one that hold changes up to a revision.
    pub fn between(
        &self,
        announcement: DeltaName,
        revision: Revision,
    ) -> impl Iterator<Item = DeltaName> {
        let deltas = self.deltas.range(announcement..).skip(1);
        let names = deltas.map(|(name, _)| *name);
        names.take_while(move |name| name.first <= revision)
    }
}
