//! Names of objects, below the place of an archive: `base/REVISION-NONCE` and `delta/FIRST-NUMBER`.
//!
//! Revisions have 20 digits, so that names of one kind sort by revision. The name of a delta follows from the one before
//! it, and from nothing else.

use std::{fmt, str::FromStr};

use etcd_state::mvcc::{Revision, RowId};

const BASE: &str = "base/";
const DELTA: &str = "delta/";

/// Digits of a revision: all that 64 bits take.
const REVISION_DIGITS: usize = 20;

/// Digits of a number: all that 32 bits take.
const NUMBER_DIGITS: usize = 10;

/// Digits of a nonce, hexadecimal.
const NONCE_DIGITS: usize = 16;

/// The name of a base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BaseName {
    pub revision: Revision,
    /// A random number, so that two nodes do not write to one name.
    pub nonce: u64,
}

/// The name of a delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeltaName {
    /// The first revision that is not in the deltas before.
    pub first: Revision,
    /// The number of deltas before it with the same first revision: those hold no revision.
    pub number: u32,
}

/// The name of any object of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectName {
    Base(BaseName),
    Delta(DeltaName),
}

impl DeltaName {
    /// The name of the first delta of an archive.
    pub const GENESIS: Self = Self {
        first: Revision::new(1),
        number: 0,
    };

    /// Returns the name of the delta after this one, which ends with revision `last`. None if there have been too many
    /// without a revision.
    pub fn following(self, last: Revision) -> Option<Self> {
        if last >= self.first {
            return Some(Self {
                first: last.next(),
                number: 0,
            });
        }
        let number = self.number.checked_add(1)?;
        Some(Self { number, ..self })
    }
}

impl fmt::Display for BaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (revision, nonce) = (self.revision.number(), self.nonce);
        write!(
            f,
            "{BASE}{revision:0REVISION_DIGITS$}-{nonce:0NONCE_DIGITS$x}"
        )
    }
}

impl fmt::Display for DeltaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, number) = (self.first.number(), self.number);
        write!(
            f,
            "{DELTA}{first:0REVISION_DIGITS$}-{number:0NUMBER_DIGITS$}"
        )
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base(name) => name.fmt(f),
            Self::Delta(name) => name.fmt(f),
        }
    }
}

/// A text that is no name of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not named like an object of an archive")]
pub struct ForeignName;

fn parts(text: &str) -> Option<(Revision, &str)> {
    let (revision, rest) = text.split_once('-')?;
    let revision: i64 = revision.parse().ok()?;
    // A store has no others, and the next one can be told of each.
    let is_possible = (1..=RowId::MAX.revision().number()).contains(&revision);
    is_possible.then_some((Revision::new(revision), rest))
}

/// Accepts only the form that is printed: another spelling would be another object.
impl FromStr for ObjectName {
    type Err = ForeignName;

    fn from_str(text: &str) -> Result<Self, ForeignName> {
        let base = || {
            let (revision, nonce) = parts(text.strip_prefix(BASE)?)?;
            let nonce = u64::from_str_radix(nonce, 16).ok()?;
            Some(Self::Base(BaseName { revision, nonce }))
        };
        let delta = || {
            let (first, number) = parts(text.strip_prefix(DELTA)?)?;
            let number = number.parse().ok()?;
            Some(Self::Delta(DeltaName { first, number }))
        };
        base()
            .or_else(delta)
            .filter(|name| name.to_string() == text)
            .ok_or(ForeignName)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn delta(first: i64, number: u32) -> DeltaName {
        DeltaName {
            first: Revision::new(first),
            number,
        }
    }

    const MAX_REVISION: i64 = RowId::MAX.revision().number();

    proptest! {
        #[test]
        fn names_are_read_as_written_and_sort_by_revision(
            revisions in (1..=MAX_REVISION, 1..=MAX_REVISION), numbers: (u32, u32), nonces: (u64, u64)
        ) {
            let (a, b) = (delta(revisions.0, numbers.0), delta(revisions.1, numbers.1));
            prop_assert_eq!(a.to_string().parse(), Ok(ObjectName::Delta(a)));
            prop_assert_eq!(a.to_string().cmp(&b.to_string()), a.cmp(&b));
            let base = |revision, nonce| BaseName { revision: Revision::new(revision), nonce };
            let (a, b) = (base(revisions.0, nonces.0), base(revisions.1, nonces.1));
            prop_assert_eq!(a.to_string().parse(), Ok(ObjectName::Base(a)));
            prop_assert_eq!(a.to_string().cmp(&b.to_string()), a.cmp(&b));
        }

        #[test]
        fn nothing_else_is_a_name(text in "(base|delta)/[0-9+-]{19,21}-[0-9a-fA-F]{9,17}") {
            if let Ok(name) = text.parse::<ObjectName>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }

        #[test]
        fn the_next_name_sorts_behind(first in 1..i64::MAX - 1, number in 0..u32::MAX, more in -1..9_i64) {
            let name = delta(first, number);
            let next = name.following(Revision::new(first.saturating_add(more).min(i64::MAX - 1))).unwrap();
            prop_assert!(next > name);
            prop_assert!(next.to_string() > name.to_string());
        }
    }

    #[test]
    fn only_deltas_without_revisions_are_counted() {
        let name = delta(7, 3);
        assert_eq!(name.following(Revision::new(6)), Some(delta(7, 4)));
        assert_eq!(name.following(Revision::new(7)), Some(delta(8, 0)));
        assert_eq!(delta(7, u32::MAX).following(Revision::new(6)), None);
    }

    #[test]
    fn impossible_and_missing_revisions_are_no_names() {
        for text in [
            "base/09223372036854775807-0000000000000000",
            "delta/09223372036854775807-0000000000",
            "base/00000000000000000000-0000000000000000",
            "delta/-0000000000000000007-0000000000",
            "delta/00000000000000000007",
            "delta/00000000000000000007-0000000000.part",
            "other/00000000000000000007-0000000000",
        ] {
            assert_eq!(text.parse::<ObjectName>(), Err(ForeignName), "{text}");
        }
    }
}
