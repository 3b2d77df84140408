//! The names in a place, and which of them matter for a revision.

use std::collections::BTreeSet;

use etcd_state::mvcc::Revision;

use crate::{BaseName, DeltaName, ObjectName};

/// The names of an archive's objects. A list may be late: objects that are there can be missing from it at its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    pub bases: BTreeSet<BaseName>,
    pub deltas: BTreeSet<DeltaName>,
}

impl Listing {
    pub fn insert(&mut self, name: ObjectName) {
        match name {
            ObjectName::Base(name) => self.bases.insert(name),
            ObjectName::Delta(name) => self.deltas.insert(name),
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
        self.bases.range(..=last).rev().copied()
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
        continuing.chain(before).copied()
    }

    /// Returns the deltas behind one that hold changes up to a revision.
    pub fn between(
        &self,
        announcement: DeltaName,
        revision: Revision,
    ) -> impl Iterator<Item = DeltaName> {
        let deltas = self.deltas.range(announcement..).skip(1);
        deltas
            .take_while(move |name| name.first <= revision)
            .copied()
    }
}
