//! The `Grpc-Timeout` header: how long a call may take, as the client says.

use std::time::Duration;

use tokio::time::Instant;
use tonic::{Status, codegen::http::HeaderMap};

const HEADER: &str = "grpc-timeout";

/// gRPC's limit on the digits of the number.
const MAX_DIGITS: usize = 8;

/// The gRPC library sees the header too, and would answer in gRPC's form. This much earlier it is our
/// answer, in JSON.
const HEAD_START: Duration = Duration::from_millis(10);

/// Returns the time at which the call ends, if the client gave one. Fails if that is now.
pub fn deadline(headers: &HeaderMap) -> Result<Option<Instant>, Status> {
    let Some(value) = headers.get(HEADER) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    let limit = parse(text)
        .ok_or_else(|| Status::invalid_argument(format!("invalid grpc-timeout: {text}")))?;
    match limit.saturating_sub(HEAD_START) {
        Duration::ZERO => Err(exceeded()),
        // 99,999,999 hours from now is a time still.
        left => Ok(Some(Instant::now() + left)),
    }
}

pub fn exceeded() -> Status {
    Status::deadline_exceeded("context deadline exceeded")
}

fn parse(text: &str) -> Option<Duration> {
    let unit = text.bytes().last()?;
    let digits = text.get(..text.len() - 1)?;
    let is_number = digits.bytes().all(|digit| digit.is_ascii_digit());
    if digits.is_empty() || digits.len() > MAX_DIGITS || !is_number {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_a_number_and_a_unit() {
        for (text, expected) in [
            ("1H", Duration::from_secs(3600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("4m", Duration::from_millis(4)),
            ("5u", Duration::from_micros(5)),
            ("6n", Duration::from_nanos(6)),
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "1",
            "S",
            "1x",
            "-1S",
            "+1S",
            "1.5S",
            "123456789S",
            "1 S",
            "ä",
            "1ä",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_longest_timeout_is_a_time() {
        let headers = [(HEADER.parse().unwrap(), "99999999H".parse().unwrap())];
        let headers: HeaderMap = headers.into_iter().collect();
        assert!(deadline(&headers).unwrap().is_some());
    }
}
