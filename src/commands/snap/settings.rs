//! The settings of `snap set`, and the values that each may have. Pure.

use std::net::IpAddr;

use dqlite::tls::is_host_name;
use serde_json::{Map, Value};

use super::HookError;
use crate::{
    address::NodeAddress,
    args::{ClientUrls, ListenAddresses},
};

pub const JOIN_TOKEN: &str = "join-token";
pub const REFRESH_WHEN_DEGRADED: &str = "refresh-when-degraded";

pub const KEYS: [&str; 10] = [
    "name",
    "address",
    "listen",
    "advertise-client-urls",
    "metrics",
    "metrics-top",
    "log-level",
    "failure-domain",
    JOIN_TOKEN,
    REFRESH_WHEN_DEGRADED,
];

/// dqlite's port where `address` names none.
pub const NODE_PORT: u16 = 29001;
pub const MANAGER_PORT: u16 = 6400;

const LEVELS: [&str; 7] = ["trace", "debug", "info", "warn", "error", "fatal", "panic"];
const METRICS_LISTEN: &str = "127.0.0.1:9042";
const MAX_TOKEN_BYTES: usize = 16 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// The name of this node in its cluster.
    pub name: Option<String>,
    /// The address of this node for other nodes.
    pub address: Option<NodeAddress>,
    pub listen: Option<String>,
    /// The URLs under which clients reach this node, separated by commas.
    pub advertise_client_urls: Option<String>,
    /// The address at which metrics are served apart.
    pub metrics: Option<String>,
    /// `true` shows prefixes of keys and clients there.
    pub metrics_top: Option<String>,
    pub log_level: Option<String>,
    /// The number that stands for the failure domain.
    pub failure_domain: Option<String>,
    pub join_token: Option<String>,
}

impl Settings {
    /// Reads the settings. The error lists all that is wrong.
    pub fn parse(values: &Map<String, Value>) -> Result<Self, HookError> {
        let mut wrong = Vec::new();
        let mut read = |key: &'static str, check: fn(&str) -> Result<String, String>| {
            let text = match values.get(key)? {
                Value::Null => return None,
                Value::String(text) => text.trim().to_owned(),
                Value::Number(number) if number.is_f64() => {
                    wrong.push(format!("{key}: more than 2^64-1, or no whole number"));
                    return None;
                }
                value @ (Value::Bool(_) | Value::Number(_)) => value.to_string(),
                _ => {
                    wrong.push(format!("{key}: it has one value, not several"));
                    return None;
                }
            };
            if text.is_empty() {
                return None;
            }
            match check(&text) {
                Ok(value) => Some(value),
                Err(reason) => {
                    wrong.push(format!("{key}: {reason}"));
                    None
                }
            }
        };
        let address = read("address", address);
        let settings = Self {
            name: read("name", name),
            address: address.map(|text| text.parse().expect("it was checked")),
            listen: read("listen", listen),
            advertise_client_urls: read("advertise-client-urls", client_urls),
            metrics: read("metrics", metrics).filter(|metrics| metrics != "false"),
            metrics_top: read("metrics-top", boolean).filter(|shown| shown == "true"),
            log_level: read("log-level", log_level),
            failure_domain: read("failure-domain", failure_domain),
            join_token: read(JOIN_TOKEN, token),
        };
        read(REFRESH_WHEN_DEGRADED, boolean);
        match wrong.is_empty() {
            true => Ok(settings),
            false => Err(HookError::Settings(wrong)),
        }
    }
}

/// Returns the keys that mean nothing.
pub fn unknown(keys: &[String]) -> Vec<&str> {
    let keys = keys.iter().map(String::as_str);
    keys.filter(|key| !KEYS.contains(key)).collect()
}

/// Returns what is wrong with a key that means nothing.
pub fn no_such(key: &str) -> String {
    let nearest = KEYS
        .iter()
        .map(|known| (edits(key, known), known))
        .filter(|(edits, known)| *edits <= known.len() / 3)
        .min_by_key(|(edits, _)| *edits);
    match nearest {
        Some((_, known)) => format!("{key}: there is no such setting; is {known} meant?"),
        None => format!(
            "{key}: there is no such setting; there are {}",
            KEYS.join(", ")
        ),
    }
}

/// Returns the number of letters that have to be added, taken away or changed.
fn edits(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (to, wanted) in other.bytes().enumerate() {
            let changed = diagonal + usize::from(letter != wanted);
            diagonal = row[to + 1];
            row[to + 1] = changed.min(diagonal + 1).min(row[to] + 1);
        }
    }
    row[other.len()]
}

/// Returns whether a setting is switched on.
pub fn is_on(values: &Map<String, Value>, key: &str) -> bool {
    match values.get(key) {
        Some(Value::Bool(value)) => *value,
        Some(Value::String(text)) => text == "true",
        _ => false,
    }
}

fn name(text: &str) -> Result<String, String> {
    match is_host_name(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} is not the name of a host")),
    }
}

fn address(text: &str) -> Result<String, String> {
    let with_port = match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => format!("{ip}:{NODE_PORT}"),
        Ok(IpAddr::V6(ip)) => format!("[{ip}]:{NODE_PORT}"),
        Err(_) => text.to_owned(),
    };
    let parsed = with_port.parse::<NodeAddress>();
    let parsed = parsed.map_err(|error| format!("{text:?}: {error}"))?;
    if parsed.is_unspecified() {
        return Err(format!(
            "other nodes cannot reach {text}: write this machine's own address"
        ));
    }
    if parsed.host().parse::<IpAddr>().is_err() {
        return Err(format!("{text:?} is no IP address, which k8sd needs"));
    }
    Ok(with_port)
}

fn listen(text: &str) -> Result<String, String> {
    let parsed = text.parse::<ListenAddresses>();
    parsed
        .map(|addresses| addresses.to_string())
        .map_err(|error| format!("{text:?}: {error}"))
}

fn client_urls(text: &str) -> Result<String, String> {
    text.parse::<ClientUrls>().map(|urls| urls.0.join(","))
}

fn metrics(text: &str) -> Result<String, String> {
    match text {
        "true" => Ok(METRICS_LISTEN.to_owned()),
        "false" => Ok(text.to_owned()),
        _ => {
            let parsed = text.parse::<NodeAddress>();
            parsed.map_err(|_| format!("{text:?} is neither true, false nor HOST:PORT"))?;
            Ok(text.to_owned())
        }
    }
}

fn log_level(text: &str) -> Result<String, String> {
    match LEVELS.contains(&text) {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} is none of {}", LEVELS.join(", "))),
    }
}

/// A number is taken as it is. A name gets the number that k8s-dqlite's other users give it: the first eight bytes
/// of its SHA-256, the lowest first.
fn failure_domain(text: &str) -> Result<String, String> {
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u64>() {
        Ok(number) => Ok(number.to_string()),
        Err(_) if is_number => Err(format!("{text} is more than 2^64-1")),
        Err(_) => {
            let hash = openssl::sha::sha256(text.as_bytes());
            let first = hash.first_chunk().expect("it has 32");
            Ok(u64::from_le_bytes(*first).to_string())
        }
    }
}

/// Checks the form of a token only: its content is for k8sd to read.
fn token(text: &str) -> Result<String, String> {
    let is_base64 = |b: u8| b.is_ascii_alphanumeric() || b"+/=".contains(&b);
    match text.len() <= MAX_TOKEN_BYTES && text.bytes().all(is_base64) {
        true => Ok(text.to_owned()),
        false => Err(
            "this is no token: make one with `k8s-dqlite.k8sd token add NAME` on a node of \
             the cluster"
                .to_owned(),
        ),
    }
}

fn boolean(text: &str) -> Result<String, String> {
    match text {
        "true" | "false" => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_store_shows_every_setting() {
        let project = include_str!("../../../snap/snapcraft.yaml");
        for key in KEYS {
            assert!(project.contains(&format!("  * `{key}`: ")), "{key}");
        }
    }

    fn parse(values: Value) -> Result<Settings, String> {
        let values = values.as_object().unwrap();
        Settings::parse(values).map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_taken_as_people_write_them() {
        let settings = parse(json!({
            "name": "node-1.lan", "address": "10.0.0.1", "listen": "unix:///run/k.sock", "metrics": true,
            "log-level": "debug", "failure-domain": 7, "join-token": "e30=",
            "advertise-client-urls": "http://b:1, http://a:1"
        }))
        .unwrap();
        assert_eq!(settings.address.unwrap().as_str(), "10.0.0.1:29001");
        assert_eq!(settings.metrics.as_deref(), Some("127.0.0.1:9042"));
        assert_eq!(settings.failure_domain.as_deref(), Some("7"));
        let urls = settings.advertise_client_urls.as_deref();
        assert_eq!(urls, Some("http://a:1,http://b:1"));
        let ipv6 = parse(json!({"address": "fd00::1"})).unwrap();
        assert_eq!(ipv6.address.unwrap().as_str(), "[fd00::1]:29001");
        let empty = parse(json!({"address": "", "metrics": false, "log-level": null})).unwrap();
        assert_eq!(empty, Settings::default());
    }

    #[test]
    fn a_named_failure_domain_has_the_number_that_others_give_it() {
        let settings = parse(json!({"failure-domain": "zone-a"})).unwrap();
        let hash = openssl::sha::sha256(b"zone-a");
        let expected = hash[..8]
            .iter()
            .rev()
            .fold(0u64, |n, b| n << 8 | u64::from(*b));
        assert_eq!(settings.failure_domain, Some(expected.to_string()));
    }

    #[test]
    fn a_key_that_means_nothing_is_named_with_the_nearest_one() {
        let keys = ["metrics", "metric", "adress", "loglevel", "colour"].map(str::to_owned);
        assert_eq!(unknown(&keys), ["metric", "adress", "loglevel", "colour"]);
        for (key, nearest) in [
            ("metric", "is metrics meant?"),
            ("adress", "is address meant?"),
            ("loglevel", "is log-level meant?"),
            ("colour", "there are name, address"),
        ] {
            assert!(no_such(key).contains(nearest), "{}", no_such(key));
        }
        assert_eq!(
            (
                edits("abc", "abc"),
                edits("", "ab"),
                edits("kitten", "sitting")
            ),
            (0, 2, 3)
        );
    }

    #[test]
    fn all_that_is_wrong_is_told() {
        let told = parse(json!({
            "name": "a_b", "address": "0.0.0.0", "listen": "10.0.0.1:1", "metrics": "yes", "metrics-top": "perhaps", "log-level": "loud",
            "failure-domain": "18446744073709551616", "join-token": "a b", "refresh-when-degraded": "perhaps",
            "advertise-client-urls": "10.0.0.1:1"
        }))
        .unwrap_err();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), KEYS.len(), "{told}");
        for key in KEYS {
            let has = |line: &&str| line.starts_with(&format!("{key}: "));
            assert!(lines.iter().any(has), "{key} in {told}");
        }
        for address in ["node1", "10.0.0.1:0", "10.0.0", "[::1]", ":1", "::"] {
            assert!(parse(json!({"address": address})).is_err(), "{address}");
        }
        assert!(parse(json!({"name": {"a": 1}})).is_err());
    }
}
