//! Nodes as YAML, with the bytes that go-dqlite's writer (yaml.v2) would choose.
//!
//! The shape is fixed, so writing is a `format!`; only the address needs care, because an IPv6
//! address in brackets has to be quoted.

use serde::Deserialize;

use crate::wire::{NodeId, Role, Server};

/// A node as it is read. Fields that are missing count as 0 or empty, unknown ones are ignored, as
/// in Go.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "ID", default)]
    id: NodeId,
    #[serde(rename = "Address", default)]
    address: String,
    #[serde(rename = "Role", default)]
    role: u64,
}

pub(super) fn format_one(server: &Server) -> String {
    let Server { id, address, role } = server;
    format!(
        "ID: {id}\nAddress: {}\nRole: {}\n",
        scalar(address),
        *role as u8
    )
}

pub(super) fn format_list(servers: &[Server]) -> String {
    if servers.is_empty() {
        return "[]\n".to_owned();
    }
    let item = |server| {
        format!(
            "- {}\n",
            format_one(server).trim_end().replace('\n', "\n  ")
        )
    };
    servers.iter().map(item).collect()
}

pub(super) fn parse_one(text: &str) -> Result<Server, String> {
    let text = without_mark(text);
    if text.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    serde_yaml::from_str(text)
        .map_err(|error| error.to_string())
        .and_then(server)
}

pub(super) fn parse_list(text: &str) -> Result<Vec<Server>, String> {
    let text = without_mark(text);
    // An empty document is an empty list in Go, too.
    let entries: Option<Vec<Entry>> =
        serde_yaml::from_str(text).map_err(|error| error.to_string())?;
    entries
        .unwrap_or_default()
        .into_iter()
        .map(server)
        .collect()
}

fn server(Entry { id, address, role }: Entry) -> Result<Server, String> {
    let role =
        Role::try_from(role).map_err(|_| format!("Role is {role}, and must be 0, 1 or 2"))?;
    Ok(Server { id, address, role })
}

/// Takes the mark from the beginning of a text that some editors write there. It is no part of the text.
pub fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Returns the text as a value in YAML: plain where YAML allows it and would not take it for something else, else
/// quoted.
pub fn scalar(text: &str) -> String {
    if text.chars().any(is_special) {
        return escaped(text);
    }
    if text.is_empty() || is_other_type(text) {
        return escaped(text);
    }
    if is_plain(text) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

/// Returns whether a character must be escaped in YAML, or would be taken for a line break.
fn is_special(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
}

fn escaped(text: &str) -> String {
    let escape = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if is_special(c) => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escape).collect::<String>())
}

/// Returns whether the bare text would be read as null, a boolean, a number or a date (YAML 1.1).
fn is_other_type(text: &str) -> bool {
    const WORDS: [&str; 10] = [
        "~", "null", "y", "n", "yes", "no", "on", "off", "true", "false",
    ];
    let lower = text.to_ascii_lowercase();
    if WORDS.contains(&lower.as_str()) {
        return true;
    }
    matches!(lower.trim_start_matches(['+', '-']), ".inf" | ".nan")
        || is_number(text)
        || is_date(text)
}

fn is_number(text: &str) -> bool {
    let digits = text.replace('_', "");
    let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(&digits);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return false;
    }
    let radix = |prefix, radix| {
        unsigned
            .strip_prefix(prefix)
            .is_some_and(|rest| u64::from_str_radix(rest, radix).is_ok())
    };
    // Base 60: 1:20 and 190:20:30.5, but not 1:9000.
    let whole = match unsigned.split_once('.') {
        Some((whole, fraction)) if is_digits(fraction) => whole,
        _ => unsigned,
    };
    let is_base_60 = whole.split_once(':').is_some_and(|(first, rest)| {
        let is_sixtieth =
            |part: &str| (1..=2).contains(&part.len()) && part.parse().is_ok_and(|n: u8| n < 60);
        !first.is_empty() && is_digits(first) && rest.split(':').all(is_sixtieth)
    });
    unsigned.parse::<f64>().is_ok()
        || radix("0x", 16)
        || radix("0o", 8)
        || radix("0b", 2)
        || is_base_60
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// 2020-01-02, perhaps with a time behind it.
fn is_date(text: &str) -> bool {
    let date = text.split(['T', 't', ' ']).next().unwrap_or(text);
    let parts: Vec<&str> = date.split('-').collect();
    matches!(parts[..], [year, month, day] if year.len() == 4
        && (1..=2).contains(&month.len()) && (1..=2).contains(&day.len())
        && parts.iter().all(|part| is_digits(part)))
}

/// Returns whether nothing in the text has a meaning in YAML.
fn is_plain(text: &str) -> bool {
    let ends_like_space = |rest: &str| rest.is_empty() || rest.starts_with(' ');
    let first = text.chars().next().unwrap_or(' ');
    let starts_well = match first {
        '-' | '?' | ':' => !ends_like_space(&text[1..]),
        _ => !" #,[]{}&*!|>'\"%@`".contains(first),
    };
    starts_well
        && !text.ends_with([' ', ':'])
        && !text.starts_with("---")
        && !text.starts_with("...")
        && !text.contains(": ")
        && !text.contains(" #")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn server(id: u64, address: &str, role: Role) -> Server {
        Server {
            id: NodeId::new(id),
            address: address.to_owned(),
            role,
        }
    }

    #[test]
    fn the_bytes_are_those_of_go() {
        // Printed by yaml.v2 2.4.0 for go-dqlite's NodeInfo.
        assert_eq!(
            format_one(&server(3297041220608546238, "10.0.0.1:9000", Role::Voter)),
            "ID: 3297041220608546238\nAddress: 10.0.0.1:9000\nRole: 0\n"
        );
        let list = [
            server(1, "10.0.0.1:9000", Role::Voter),
            server(u64::MAX, "[::1]:9000", Role::Spare),
        ];
        let text = "- ID: 1\n  Address: 10.0.0.1:9000\n  Role: 0\n\
                    - ID: 18446744073709551615\n  Address: '[::1]:9000'\n  Role: 2\n";
        assert_eq!(format_list(&list), text);
        assert_eq!(parse_list(text).unwrap(), list);
        assert_eq!(format_list(&[]), "[]\n");
        assert_eq!(parse_list("[]\n").unwrap(), []);
        assert_eq!(parse_list("").unwrap(), []);
    }

    #[test]
    fn addresses_are_quoted_as_go_quotes_them() {
        // Printed by yaml.v2 2.4.0.
        let expected = [
            ("", "\"\""),
            ("1", "\"1\""),
            ("on", "\"on\""),
            ("N", "\"N\""),
            ("~", "\"~\""),
            ("::1:9000", "::1:9000"),
            ("@foo", "'@foo'"),
            ("127.0.0.1", "127.0.0.1"),
            ("1.5", "\"1.5\""),
            ("node-1.example.com:9000", "node-1.example.com:9000"),
            ("a:", "'a:'"),
            ("-", "'-'"),
            ("-a", "-a"),
            ("- a", "'- a'"),
            ("?x", "?x"),
            (":", "':'"),
            ("2020-01-01", "\"2020-01-01\""),
            ("1:20", "\"1:20\""),
            ("190:20:30", "\"190:20:30\""),
            ("1:9000", "1:9000"),
            ("9000", "\"9000\""),
            ("2001:db8::1", "2001:db8::1"),
            ("0x1f", "\"0x1f\""),
            ("0b11", "\"0b11\""),
            ("0o17", "\"0o17\""),
            ("08", "\"08\""),
            ("1_000", "\"1_000\""),
            ("1e3", "\"1e3\""),
            ("+1", "\"+1\""),
            (".5", "\".5\""),
            (".inf", "\".inf\""),
            (".", "."),
            ("1.2.3", "1.2.3"),
            ("a b", "a b"),
            ("a #b", "'a #b'"),
            ("a: b", "'a: b'"),
            ("it's", "it's"),
            ("---", "'---'"),
            ("%a", "'%a'"),
            ("a,b", "a,b"),
            ("é:1", "é:1"),
        ];
        for (address, expected) in expected {
            assert_eq!(scalar(address), expected);
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_damage() {
        let node = server(1, "[::1]:9000", Role::Voter);
        let marked = format!("\u{feff}{}", format_one(&node));
        assert_eq!(parse_one(&marked).unwrap(), node);
        let marked = format!("\u{feff}{}", format_list(std::slice::from_ref(&node)));
        assert_eq!(parse_list(&marked).unwrap(), [node]);
    }

    #[test]
    fn damage_is_described() {
        for (text, expected) in [
            ("", "is empty"),
            ("- ID: 1\n", "invalid type"),
            ("ID: one\n", "ID"),
            ("ID: 1\nAddress: [\n", "line"),
            ("ID: 1\nRole: 7\n", "must be 0, 1 or 2"),
            ("ID: -1\n", "ID"),
        ] {
            let reason = parse_one(text).unwrap_err();
            assert!(reason.contains(expected), "{text:?}: {reason:?}");
        }
        assert!(parse_list("ID: 1\n").is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            id: u64,
            address in ".*|[ -~]{0,20}|[0-9:.xe+_-]{0,9}",
            role in 0u64..3,
        ) {
            let server = server(id, &address, Role::try_from(role).unwrap());
            prop_assert_eq!(&parse_one(&format_one(&server)).unwrap(), &server);
            let list = [server.clone(), server];
            prop_assert_eq!(&parse_list(&format_list(&list)).unwrap(), &list);
        }
    }
}
