//! The numbers that name revisions, leases and rows.

use std::fmt;

/// The store's logical clock: one per transaction that changed something. The empty store is at 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Revision(i64);

impl Revision {
    /// No revision: of a version that there is not. Where one is asked for, the current one.
    pub const NONE: Self = Self(0);

    /// The revision of a store that holds nothing.
    pub const FIRST: Self = Self(1);

    /// Below every revision.
    pub const MIN: Self = Self(i64::MIN);

    pub const MAX: Self = Self(i64::MAX);

    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// Returns the number as which clients know the revision.
    pub const fn number(self) -> i64 {
        self.0
    }

    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Returns the revision of the transaction that follows.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    pub const fn previous(self) -> Self {
        Self(self.0 - 1)
    }

    /// Returns the number of revisions between an earlier one and this, negative if it is a later one.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Identifies a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct LeaseId(i64);

impl LeaseId {
    /// No lease, of a key without one.
    pub const NONE: Self = Self(0);

    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// Returns the number as which clients know the lease.
    pub const fn number(self) -> i64 {
        self.0
    }

    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::LowerHex for LeaseId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, formatter)
    }
}

const POSITION_BITS: u32 = 20;

/// The highest position in a revision: one transaction changes at most 1,048,575 keys, and 43 bits
/// are left for revisions, enough for 270 years at 1,000 per second.
pub const MAX_POSITION: u32 = (1 << POSITION_BITS) - 1;

/// The primary key of a change's row: revision in the high bits, position in the low ones, so that
/// the order of the table is the order of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct RowId(i64);

impl RowId {
    /// Below the row of every change.
    pub const MIN: Self = Self(i64::MIN);

    pub const MAX: Self = Self(i64::MAX);

    /// Returns the row of a change. `position` must not be above [`MAX_POSITION`].
    pub const fn new(revision: Revision, position: u32) -> Self {
        debug_assert!(position <= MAX_POSITION);
        Self((revision.0 << POSITION_BITS) | position as i64)
    }

    /// Returns the last row that a revision can have.
    pub const fn last_of(revision: Revision) -> Self {
        Self::new(revision, MAX_POSITION)
    }

    /// Returns the row whose primary key in the table is `number`.
    pub const fn from_number(number: i64) -> Self {
        Self(number)
    }

    /// Returns the primary key in the table.
    pub const fn number(self) -> i64 {
        self.0
    }

    pub const fn revision(self) -> Revision {
        Revision(self.0 >> POSITION_BITS)
    }

    pub const fn position(self) -> u32 {
        (self.0 & MAX_POSITION as i64) as u32
    }
}

impl fmt::Display for RowId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_ids_sort_by_revision_then_position() {
        let revision = Revision::new(7);
        assert!(RowId::last_of(revision) < RowId::new(revision.next(), 0));
        let last = Revision::new(i64::MAX >> POSITION_BITS);
        let id = RowId::last_of(last);
        assert_eq!((id.revision(), id.position()), (last, MAX_POSITION));
        assert_eq!(id, RowId::MAX);
    }
}
