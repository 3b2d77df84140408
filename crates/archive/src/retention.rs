//! Which objects of an archive may go. Pure.
//!
//! A moment is restored from a base and the deltas behind its announcement. So an archive is cut at the announcement of a base: what
//! comes before it goes, and every moment from that base on can be restored as before.

use std::{num::NonZeroUsize, time::Duration};

use crate::{BaseName, DeltaName, Listing};

/// The rules for what is kept: both hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// All moments that are not older than this.
    pub age: Duration,
    /// The newest bases, at least so many.
    pub bases: NonZeroUsize,
}

/// A base that counts, because a delta announces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announcement {
    pub delta: DeltaName,
    pub base: BaseName,
    /// The time of the announcement, in milliseconds since 1970, by the clock of the node that led.
    pub ended_ms: u64,
}

/// Two clocks. A moment is old only if it is for both: one that is fast removes nothing alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// The time of the newest delta, by the clock of the node that led.
    pub newest_ms: u64,
    /// The time of this machine.
    pub here_ms: u64,
}

/// The objects that may go, in the order in which they have to: after each of them, all that is kept can be restored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removal {
    pub deltas: Vec<DeltaName>,
    pub bases: Vec<BaseName>,
    /// Bytes of all of them.
    pub bytes: u64,
    /// The beginning of the archive then; none if there is no base, and nothing goes.
    pub begins: Option<Announcement>,
}

/// Returns what may go. `announcements` are all that there are, in the order of their deltas.
pub fn plan(
    listing: &Listing,
    announcements: &[Announcement],
    policy: &Policy,
    clocks: Clocks,
) -> Removal {
    let Some(cut) = cut(announcements, policy, clocks) else {
        return Removal::default();
    };
    let begins = announcements[cut];
    let deltas = listing.deltas.range(..begins.delta);
    // A lower one is announced earlier, or it was never complete: whoever uploads one now does so at a later revision.
    let is_kept = |base: &BaseName| announcements[cut..].iter().any(|kept| kept.base == *base);
    let bases = listing.bases.iter();
    let bases = bases.filter(|(base, _)| base.revision < begins.base.revision && !is_kept(base));
    let mut removal = Removal {
        begins: Some(begins),
        ..Removal::default()
    };
    for (name, bytes) in deltas {
        removal.deltas.push(*name);
        removal.bytes += bytes;
    }
    for (name, bytes) in bases {
        removal.bases.push(*name);
        removal.bytes += bytes;
    }
    removal
}

/// Returns the last announcement at which the archive can be cut.
fn cut(announcements: &[Announcement], policy: &Policy, clocks: Clocks) -> Option<usize> {
    let last = announcements.len().checked_sub(policy.bases.get());
    let now_ms = clocks.newest_ms.min(clocks.here_ms);
    let age_ms = u64::try_from(policy.age.as_millis()).unwrap_or(u64::MAX);
    let oldest_ms = now_ms.saturating_sub(age_ms);
    // The base has to be there already at the oldest moment that is kept.
    let is_old = |at: &usize| announcements[*at].ended_ms <= oldest_ms;
    let found = last.and_then(|last| (0..=last).rev().find(is_old));
    found.or_else(|| (!announcements.is_empty()).then_some(0))
}

#[cfg(test)]
mod tests {
    use etcd_state::mvcc::Revision;
    use proptest::prelude::*;

    use super::*;
    use crate::ObjectName;

    const HOUR_MS: u64 = 3_600_000;

    fn delta(first: i64) -> DeltaName {
        DeltaName {
            first: Revision::new(first),
            number: 0,
        }
    }

    fn base(revision: i64) -> BaseName {
        BaseName {
            revision: Revision::new(revision),
            nonce: 1,
        }
    }

    /// An archive with a delta an hour, of ten revisions each, and a base behind each third one, beginning with the first.
    fn archive(hours: u64) -> (Listing, Vec<Announcement>) {
        let mut listing = Listing::default();
        let mut announcements = Vec::new();
        for hour in 0..hours {
            let first = 10 * hour as i64 + 1;
            listing.insert(ObjectName::Delta(delta(first)), 100);
            if hour % 3 == 0 {
                listing.insert(ObjectName::Base(base(first + 9)), 1000);
                announcements.push(Announcement {
                    delta: delta(first),
                    base: base(first + 9),
                    ended_ms: hour * HOUR_MS,
                });
            }
        }
        (listing, announcements)
    }

    fn policy(hours: u64, bases: usize) -> Policy {
        Policy {
            age: Duration::from_millis(hours * HOUR_MS),
            bases: NonZeroUsize::new(bases).unwrap(),
        }
    }

    fn at(hours: u64) -> Clocks {
        Clocks {
            newest_ms: hours * HOUR_MS,
            here_ms: hours * HOUR_MS,
        }
    }

    #[test]
    fn what_is_older_than_the_last_base_before_the_age_goes() {
        let (mut listing, announcements) = archive(10);
        listing.insert(ObjectName::Base(base(5)), 7);
        listing.insert(ObjectName::Base(base(99)), 7);
        let removal = plan(&listing, &announcements, &policy(4, 1), at(9));
        assert_eq!(removal.begins, Some(announcements[1]));
        assert_eq!(removal.deltas, [delta(1), delta(11), delta(21)]);
        // And one that was never complete.
        assert_eq!(removal.bases, [base(5), base(10)]);
        assert_eq!(removal.bytes, 3 * 100 + 1000 + 7);
    }

    #[test]
    fn a_number_of_bases_stays_whatever_their_age() {
        let (listing, announcements) = archive(10);
        let begins = |bases| plan(&listing, &announcements, &policy(0, bases), at(99)).begins;
        assert_eq!(begins(1), Some(announcements[3]));
        assert_eq!(begins(3), Some(announcements[1]));
        assert_eq!(begins(4), Some(announcements[0]));
        assert_eq!(begins(9), Some(announcements[0]));
    }

    #[test]
    fn a_fast_clock_removes_nothing_alone() {
        let (listing, announcements) = archive(10);
        for (newest, here) in [(9, 1000), (1000, 9)] {
            let clocks = Clocks {
                newest_ms: newest * HOUR_MS,
                here_ms: here * HOUR_MS,
            };
            let removal = plan(&listing, &announcements, &policy(9, 1), clocks);
            assert!(removal.deltas.is_empty() && removal.bases.is_empty());
        }
    }

    #[test]
    fn without_a_base_nothing_goes() {
        let mut listing = Listing::default();
        listing.insert(ObjectName::Delta(delta(1)), 100);
        let removal = plan(&listing, &[], &policy(0, 1), at(99));
        assert_eq!(removal, Removal::default());
    }

    proptest! {
        #[test]
        fn every_moment_that_is_kept_has_its_base_and_its_deltas(
            hours in 1..60_u64, age in 0..60_u64, bases in 1..9_usize
        ) {
            let (listing, announcements) = archive(hours);
            let removal = plan(&listing, &announcements, &policy(age, bases), at(hours - 1));
            let begins = removal.begins.unwrap();
            let kept = |name: &DeltaName| !removal.deltas.contains(name);
            prop_assert!(listing.deltas.range(begins.delta..).all(|(name, _)| kept(name)));
            for announcement in &announcements {
                let is_before = announcement.delta < begins.delta;
                prop_assert_eq!(removal.bases.contains(&announcement.base), is_before);
            }
            let oldest_ms = (hours - 1).saturating_sub(age) * HOUR_MS;
            prop_assert!(begins.ended_ms <= oldest_ms);
            let left = announcements.iter().filter(|it| it.delta >= begins.delta).count();
            prop_assert!(left >= bases.min(announcements.len()));
        }
    }
}
