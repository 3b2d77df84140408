//! Names of scheduled backups: `k8s-dqlite-TIME-rREVISION-NODE.db.gz`, in the order of their time. Pure.

use std::{fmt, str::FromStr};

use dqlite::wire::NodeId;
use etcd_state::mvcc::Revision;
use jiff::{SignedDuration, civil::DateTime};

const PREFIX: &str = "k8s-dqlite-";
const SUFFIX: &str = ".db.gz";

/// Digits of the revision, so that names of one second sort, too.
const REVISION_DIGITS: usize = 12;

/// As strftime has it.
const FORM: &str = "%Y%m%dT%H%M%SZ";

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// Seconds since 1970, written as `20261121T181108Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(u64);

impl Time {
    /// The year 9999 is the last one.
    const LAST_S: u64 = 253_402_300_799;

    pub fn from_unix(seconds: u64) -> Self {
        Self(seconds.min(Self::LAST_S))
    }

    pub fn unix_s(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = EPOCH + SignedDuration::from_secs(self.0.cast_signed());
        write!(f, "{}", at.strftime(FORM))
    }
}

/// Accepts only the form that is printed: another spelling of the same time is no name of ours.
impl FromStr for Time {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let at = DateTime::strptime(FORM, text).map_err(|_| ())?;
        let unix_s = at.duration_since(EPOCH).as_secs();
        let time = Self(unix_s.try_into().map_err(|_| ())?);
        (time.to_string() == text).then_some(time).ok_or(())
    }
}

/// The name of a scheduled backup. Names are in the order of time, then of revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    pub time: Time,
    pub revision: Revision,
    pub node_id: NodeId,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (time, revision, node) = (self.time, self.revision, self.node_id);
        write!(
            f,
            "{PREFIX}{time}-r{revision:0REVISION_DIGITS$}-{node:016x}{SUFFIX}"
        )
    }
}

impl FromStr for Name {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let inner = text.strip_prefix(PREFIX).ok_or(())?;
        let inner = inner.strip_suffix(SUFFIX).ok_or(())?;
        let mut parts = inner.split('-');
        let (Some(time), Some(revision), Some(node), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(());
        };
        let revision = revision.strip_prefix('r').ok_or(())?;
        let name = Self {
            time: time.parse()?,
            revision: Revision::new(revision.parse().map_err(|_| ())?),
            node_id: NodeId::new(u64::from_str_radix(node, 16).map_err(|_| ())?),
        };
        (name.to_string() == text).then_some(name).ok_or(())
    }
}

/// Returns the time of a backup by its file's name, in seconds since 1970; none if that is not the name of one.
pub fn backup_time_s(file_name: &str) -> Option<u64> {
    let name: Name = file_name.parse().ok()?;
    Some(name.time.unix_s())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (unix_s, text) in [
            (0, "19700101T000000Z"),
            (951_782_400, "20000229T000000Z"),
            (1_795_284_668, "20261121T181108Z"),
            (4_107_542_399, "21000228T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
            (Time::LAST_S, "99991231T235959Z"),
        ] {
            assert_eq!(Time::from_unix(unix_s).to_string(), text);
        }
        for text in [
            "20260230T000000Z",
            "2026",
            "20261121T250000Z",
            "20261121 181108Z",
        ] {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn names_are_read_as_written_and_sort_by_time(
            times in (0..=Time::LAST_S, 0..=Time::LAST_S),
            revisions in (1..1_000_000_000_000_i64, 1..1_000_000_000_000_i64),
            node_id: u64
        ) {
            let name = |time, revision| Name { time: Time::from_unix(time), revision: Revision::new(revision), node_id: NodeId::new(node_id) };
            let (a, b) = (name(times.0, revisions.0), name(times.1, revisions.1));
            prop_assert_eq!(a.to_string().parse(), Ok(a));
            prop_assert_eq!(a.to_string().cmp(&b.to_string()), a.cmp(&b));
        }

        #[test]
        fn nothing_else_is_a_name(text in "k8s-dqlite-[0-9TZ]{14,18}-r[0-9]{1,14}-[0-9a-f]{15,17}.db.gz") {
            if let Ok(name) = text.parse::<Name>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
