//! Times in seconds since 1970. Pure but for [`now_s`].

use std::time::{SystemTime, UNIX_EPOCH};

use dqlite::wire::UtcTime;

/// Returns seconds since 1970.
pub fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs().cast_signed())
}

/// Returns seconds since 1970 as RFC 3339.
pub fn rfc3339(seconds: i64) -> String {
    UtcTime::from_unix(seconds).rfc3339()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }
}
