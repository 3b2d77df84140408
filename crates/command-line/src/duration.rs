//! Durations as Go writes them: `5s`, `1m30s`, `250ms`, `1.5h`, `0` (Go: time.ParseDuration).

use std::{fmt, str::FromStr, time::Duration};

/// Every unit, in nanoseconds, and the longer of two that begin alike first.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
];

/// Digits after the point that can still count: an hour has 3.6e12 ns.
const FRACTION_DIGITS_MAX: usize = 18;

/// A signed number of nanoseconds, like Go's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(i64);

impl GoDuration {
    pub const fn from_secs(seconds: u32) -> Self {
        Self(seconds as i64 * 1_000_000_000)
    }

    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// `None` for zero and less, which most flags take as "off".
    pub fn positive(self) -> Option<Duration> {
        u64::try_from(self.0)
            .ok()
            .filter(|nanos| *nanos > 0)
            .map(Duration::from_nanos)
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a duration: write a number with its unit, such as 250ms, 5s, 1m30s or 1h")]
pub struct DurationError;

/// Parses a duration, or a bare number of `unit`, which was the only form of the flag before; it is not negative.
pub fn with_unit(text: &str, unit: Duration) -> Result<Duration, String> {
    if let Ok(count) = text.parse::<u32>() {
        return Ok(unit * count);
    }
    let duration: GoDuration = text
        .parse()
        .map_err(|error: DurationError| error.to_string())?;
    let nanos = u64::try_from(duration.0).map_err(|_| "must not be negative".to_owned())?;
    Ok(Duration::from_nanos(nanos))
}

impl FromStr for GoDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let (is_negative, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Ok(Self(0));
        }
        if rest.is_empty() {
            return Err(DurationError);
        }
        let mut nanos = 0_u128;
        while !rest.is_empty() {
            let (part, after) = one_part(rest).ok_or(DurationError)?;
            nanos = nanos.checked_add(part).ok_or(DurationError)?;
            rest = after;
        }
        let nanos = i64::try_from(nanos).map_err(|_| DurationError)?;
        Ok(Self(if is_negative { -nanos } else { nanos }))
    }
}

/// Takes `1.5h` off the front: its nanoseconds and what follows.
fn one_part(text: &str) -> Option<(u128, &str)> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let (name, scale) = UNITS.into_iter().find(|(name, _)| rest.starts_with(name))?;
    let whole: u128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let fraction = &fraction[..fraction.len().min(FRACTION_DIGITS_MAX)];
    let part: u128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().ok()?
    };
    let nanos = whole.checked_mul(scale)? + part * scale / 10_u128.pow(fraction.len() as u32);
    Some((nanos, &rest[name.len()..]))
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        match self.0.unsigned_abs() {
            0 => f.write_str("0s"),
            nanos => write!(f, "{sign}{:?}", Duration::from_nanos(nanos)),
        }
    }
}

impl fmt::Debug for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(text: &str) -> Option<i64> {
        text.parse::<GoDuration>().ok().map(|duration| duration.0)
    }

    #[test]
    fn reads_what_go_reads() {
        for (text, expected) in [
            ("0", 0),
            ("-0", 0),
            ("5s", 5_000_000_000),
            ("1m30s", 90_000_000_000),
            ("250ms", 250_000_000),
            ("1h", 3_600_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("3us2ns", 3_002),
            ("7µs", 7_000),
            ("-1s", -1_000_000_000),
            ("+1s", 1_000_000_000),
            ("0.100000000000000000000h", 360_000_000_000),
        ] {
            assert_eq!(nanos(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in [
            "",
            "5",
            "s",
            ".",
            ".s",
            "5 s",
            "5x",
            "1s2",
            "--1s",
            "99999999999h",
            "1e3s",
        ] {
            assert_eq!(nanos(text), None, "{text}");
        }
    }

    #[test]
    fn a_bare_number_has_the_unit_of_its_flag() {
        let second = Duration::from_secs(1);
        for (text, seconds) in [
            ("90", 90),
            ("90s", 90),
            ("1h", 3600),
            ("1h30m", 5400),
            ("0", 0),
        ] {
            let read = with_unit(text, second);
            assert_eq!(read, Ok(Duration::from_secs(seconds)), "{text}");
        }
        let read = with_unit("2000", Duration::from_millis(1));
        assert_eq!(read, Ok(2 * second));
        for wrong in ["", "-1", "-1s", "soon", "1 h", "1d"] {
            assert!(with_unit(wrong, second).is_err(), "{wrong}");
        }
    }

    #[test]
    fn zero_and_less_is_off() {
        assert_eq!(GoDuration(0).positive(), None);
        assert_eq!(GoDuration(-1).positive(), None);
        assert_eq!(
            GoDuration::from_secs(5).positive(),
            Some(Duration::from_secs(5))
        );
    }
}
