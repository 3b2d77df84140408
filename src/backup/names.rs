//! Names of scheduled backups: `k8s-dqlite-TIME-rREVISION-NODE.db.gz`, in the order of their time. Pure.

use std::{fmt, str::FromStr};

use etcd_state::mvcc::Revision;

const PREFIX: &str = "k8s-dqlite-";
const SUFFIX: &str = ".db.gz";

/// Digits of the revision, so that names of one second sort, too.
const REVISION_DIGITS: usize = 12;

const DAY_S: u64 = 86_400;

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
        let (year, month, day) = date(self.0 / DAY_S);
        let (hour, minute, second) = (self.0 % DAY_S / 3600, self.0 % 3600 / 60, self.0 % 60);
        write!(
            f,
            "{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z"
        )
    }
}

/// Accepts only the form that is printed: another spelling of the same time is no name of ours.
impl FromStr for Time {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
        let parsed = || {
            let (year, month, day) = (digits(0, 4)?, digits(4, 6)?, digits(6, 8)?);
            let (hour, minute, second) = (digits(9, 11)?, digits(11, 13)?, digits(13, 15)?);
            let days = days(year, month, day)?;
            Some(Self(days * DAY_S + hour * 3600 + minute * 60 + second))
        };
        let time = parsed().ok_or(())?;
        (time.to_string() == text).then_some(time).ok_or(())
    }
}

/// Year, month and day of a day since 1970, by the calendar that begins on March 1st of year 0, in which leap
/// days are last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || year < 1970 {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let month = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * month + 2) / 5 + day - 1;
    let of_era = year % 400 * 365 + year % 400 / 4 - year % 400 / 100 + of_year;
    (year / 400 * 146_097 + of_era).checked_sub(719_468)
}

/// The name of a scheduled backup. Names are in the order of time, then of revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    pub time: Time,
    pub revision: Revision,
    pub node_id: u64,
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
            revision: revision.parse().map_err(|_| ())?,
            node_id: u64::from_str_radix(node, 16).map_err(|_| ())?,
        };
        (name.to_string() == text).then_some(name).ok_or(())
    }
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
            let name = |time, revision| Name { time: Time::from_unix(time), revision, node_id };
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
