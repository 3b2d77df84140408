//! The date of a column that is declared a time and has seconds since 1970. Pure.

use jiff::{
    SignedDuration,
    civil::{DateTime, date},
};

/// Seconds of 400 years, after which the calendar repeats. A column may hold any number, and the calendar of the
/// library ends with the year 9999.
const ERA_S: i64 = 146_097 * 24 * 3600;

/// Date and time of seconds since 1970, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UtcTime {
    year: i64,
    /// The same of another 400 years.
    of_era: DateTime,
}

impl UtcTime {
    pub fn from_unix(seconds: i64) -> Self {
        let since = SignedDuration::from_secs(seconds.rem_euclid(ERA_S));
        let of_era = date(1970, 1, 1).at(0, 0, 0, 0) + since;
        let year = i64::from(of_era.year()) + 400 * seconds.div_euclid(ERA_S);
        Self { year, of_era }
    }

    /// `2020-02-29`
    pub fn date(&self) -> String {
        let (year, month, day) = (self.year, self.of_era.month(), self.of_era.day());
        format!("{year:04}-{month:02}-{day:02}")
    }

    /// `23:59:59`
    pub fn time(&self) -> String {
        self.of_era.time().to_string()
    }

    /// `2020-02-29T23:59:59Z`, as RFC 3339 has it.
    pub fn rfc3339(&self) -> String {
        format!("{}T{}Z", self.date(), self.time())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_dates_whatever_they_are() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (253_402_300_800, "10000-01-01T00:00:00Z"),
            (-62_135_596_801, "0000-12-31T23:59:59Z"),
            (i64::MAX, "292277026596-12-04T15:30:07Z"),
            (i64::MIN, "-292277022657-01-27T08:29:52Z"),
        ] {
            assert_eq!(UtcTime::from_unix(seconds).rfc3339(), text);
        }
    }
}
