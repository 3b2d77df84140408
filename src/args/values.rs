//! The values of flags, as Go's flag library reads them.

use std::num::ParseIntError;

use dqlite::{
    roles::{MIN_VOTERS, RoleTargets},
    tls::{TlsError, TlsVersion},
};
use etcd_state::requests::LARGEST_REQUEST_BYTES;

pub(super) fn tls_version(text: &str) -> Result<TlsVersion, TlsError> {
    if text.is_empty() {
        Ok(TlsVersion::default())
    } else {
        text.parse()
    }
}

/// Parses as Go's strconv.ParseBool does.
pub(super) fn boolean(text: &str) -> Result<bool, &'static str> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("write true or false"),
    }
}

/// Decimal, or with the prefix 0x, 0o, 0 or 0b; underscores between digits (Go: strconv.ParseUint
/// with base 0).
pub(super) fn unsigned(text: &str) -> Result<u64, ParseIntError> {
    let plain = text.replace('_', "");
    let lower = plain.to_ascii_lowercase();
    for (prefix, radix) in [("0x", 16), ("0b", 2), ("0o", 8)] {
        if let Some(digits) = lower.strip_prefix(prefix) {
            return u64::from_str_radix(digits, radix);
        }
    }
    match lower.strip_prefix('0') {
        Some(digits) if !digits.is_empty() => u64::from_str_radix(digits, 8),
        _ => plain.parse(),
    }
}

pub(super) fn count(text: &str) -> Result<usize, String> {
    let count = unsigned(text).map_err(|error| error.to_string())?;
    usize::try_from(count).map_err(|error| error.to_string())
}

pub(super) fn voters(text: &str) -> Result<usize, String> {
    let voters = count(text)?;
    let valid = RoleTargets::new(voters, 0).map(|_| voters);
    valid.ok_or_else(|| format!("an odd number, at least {MIN_VOTERS}"))
}

pub(super) fn streams(text: &str) -> Result<u32, String> {
    let count = unsigned(text).map_err(|error| error.to_string())?;
    u32::try_from(count).map_err(|error| error.to_string())
}

pub(super) fn request_bytes(text: &str) -> Result<usize, String> {
    let bytes = count(text)?;
    if bytes > LARGEST_REQUEST_BYTES {
        return Err(format!("at most {LARGEST_REQUEST_BYTES}"));
    }
    Ok(bytes)
}

/// The same with a sign (Go: strconv.ParseInt with base 0).
pub(super) fn signed(text: &str) -> Result<i64, String> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let size = unsigned(digits).map_err(|error| error.to_string())?;
    let signed = if is_negative {
        0_i64.checked_sub_unsigned(size)
    } else {
        i64::try_from(size).ok()
    };
    signed.ok_or_else(|| "out of range".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_may_have_any_of_gos_bases() {
        for (text, expected) in [
            ("0", 0),
            ("10485760", 10_485_760),
            ("0x10", 16),
            ("010", 8),
            ("0b11", 3),
            ("1_000", 1000),
        ] {
            assert_eq!(unsigned(text), Ok(expected), "{text}");
        }
        for text in ["", "-1", "ten", "0x", "18446744073709551616"] {
            assert!(unsigned(text).is_err(), "{text}");
        }
    }

    #[test]
    fn voters_are_an_odd_number_that_tolerates_a_failure() {
        for text in ["3", "5", "99"] {
            assert!(voters(text).is_ok(), "{text}");
        }
        for text in ["0", "1", "2", "4", "-3", "many"] {
            assert!(voters(text).is_err(), "{text}");
        }
    }

    #[test]
    fn signed_numbers_reach_from_end_to_end() {
        assert_eq!(signed("-0x10"), Ok(-16));
        assert_eq!(signed("9223372036854775807"), Ok(i64::MAX));
        assert_eq!(signed("-9223372036854775808"), Ok(i64::MIN));
        for text in ["", "-", "--1", "9223372036854775808"] {
            assert!(signed(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_unknown_tls_version_names_the_four() {
        assert_eq!(tls_version("").unwrap(), TlsVersion::Tls12);
        let error = tls_version("ssl3").unwrap_err().to_string();
        for name in ["tls10", "tls11", "tls12", "tls13"] {
            assert!(error.contains(name), "{error}");
            assert!(tls_version(name).is_ok());
        }
    }
}
