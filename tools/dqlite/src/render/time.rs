//! Times of columns that are declared as such, as Go prints them, in UTC. Pure.

use dqlite::wire::UtcTime;

/// Returns seconds since 1970 as `2020-01-01 10:00:00 +0000 UTC`.
pub fn unix_time(seconds: i64) -> String {
    let at = UtcTime::from_unix(seconds);
    format!("{} {} +0000 UTC", at.date(), at.time())
}

/// A time in one of the forms that the original reads, or `None`: a date, a time of day with or without
/// seconds and their fraction, and with seconds also an offset.
pub fn iso_time(text: &str) -> Option<String> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, rest) = split_at(text, 10)?;
    if !shaped(date, "dddd-dd-dd") || !in_range(&date[5..7], 1, 12) || !in_range(&date[8..], 1, 31)
    {
        return None;
    }
    if rest.is_empty() {
        return Some(format!("{date} 00:00:00 +0000 UTC"));
    }
    let rest = rest.strip_prefix([' ', 'T'])?;
    let (minutes, rest) = split_at(rest, 5)?;
    if !shaped(minutes, "dd:dd")
        || !in_range(&minutes[..2], 0, 23)
        || !in_range(&minutes[3..], 0, 59)
    {
        return None;
    }
    if rest.is_empty() {
        return Some(format!("{date} {minutes}:00 +0000 UTC"));
    }
    let (seconds, rest) = split_at(rest, 3)?;
    if !shaped(seconds, ":dd") || !in_range(&seconds[1..], 0, 59) {
        return None;
    }
    let (fraction, offset) = match rest.find(['+', '-']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let digits = match fraction.strip_prefix('.') {
        Some(digits) if !digits.is_empty() && shaped(digits, &"d".repeat(digits.len())) => digits,
        None if fraction.is_empty() => "",
        _ => return None,
    };
    let digits = digits.get(..9).unwrap_or(digits).trim_end_matches('0');
    let fraction = if digits.is_empty() {
        String::new()
    } else {
        format!(".{digits}")
    };
    let zone = zone(offset)?;
    Some(format!("{date} {minutes}{seconds}{fraction} {zone}"))
}

fn zone(offset: &str) -> Option<String> {
    if offset.is_empty() {
        return Some("+0000 UTC".to_owned());
    }
    let shape = [&offset[..1], "dd:dd"].concat();
    if !shaped(offset, &shape) {
        return None;
    }
    let plain = offset.replace(':', "");
    Some(match &plain[1..] {
        "0000" => "+0000 UTC".to_owned(),
        _ => format!("{plain} {plain}"),
    })
}

fn split_at(text: &str, at: usize) -> Option<(&str, &str)> {
    Some((text.get(..at)?, text.get(at..)?))
}

/// Returns whether text has the shape: `d` stands for a digit, everything else for itself.
fn shaped(text: &str, shape: &str) -> bool {
    let fits = |(byte, shape)| match shape {
        b'd' => u8::is_ascii_digit(&byte),
        other => byte == other,
    };
    text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(fits)
}

fn in_range(digits: &str, low: u32, high: u32) -> bool {
    digits
        .parse()
        .is_ok_and(|value| (low..=high).contains(&value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00 +0000 UTC"),
            (-1, "1969-12-31 23:59:59 +0000 UTC"),
            (951_782_400, "2000-02-29 00:00:00 +0000 UTC"),
            (4_107_542_399, "2100-02-28 23:59:59 +0000 UTC"),
        ] {
            assert_eq!(unix_time(seconds), expected);
        }
        // No overflow, whatever a column holds.
        unix_time(i64::MAX);
        unix_time(i64::MIN);
    }

    #[test]
    fn what_is_no_time_is_told() {
        for text in [
            "",
            "x",
            "2020-13-01",
            "2020-01-01 25:00",
            "2020-01-01 10:00:00.",
            "2020-01-01x",
            "é",
        ] {
            assert_eq!(iso_time(text), None, "{text:?}");
        }
    }
}
