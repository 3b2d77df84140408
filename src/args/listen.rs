//! `--listen`: one address of the etcd API, or several.

use std::{fmt, str::FromStr};

use crate::address::{ListenAddress, ListenSocket, is_unspecified};

/// Addresses in the order in which they were given; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddresses(pub Vec<ListenAddress>);

/// The most addresses. One for each kind of client is enough, and each takes a file and a look at every connection.
const MAX_ADDRESSES: usize = 16;

impl FromStr for ListenAddresses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let given: Vec<&str> = text.split(',').map(str::trim).collect();
        if given.len() > MAX_ADDRESSES {
            return Err(format!(
                "more than {MAX_ADDRESSES} addresses: leave some out"
            ));
        }
        let is_alone = given.len() == 1;
        let mut addresses: Vec<ListenAddress> = Vec::new();
        for text in given {
            if text.is_empty() && !is_alone {
                return Err("an address is missing beside a comma".to_owned());
            }
            let parsed: Result<ListenAddress, _> = text.parse();
            let address = parsed.map_err(|error| match is_alone {
                true => error.to_string(),
                false => format!("{text:?}: {error}"),
            })?;
            if let Some(other) = addresses
                .iter()
                .find(|other| overlaps(&other.socket, &address.socket))
            {
                return Err(format!(
                    "{other} and {address} are the same: leave one of them out"
                ));
            }
            addresses.push(address);
        }
        Ok(Self(addresses))
    }
}

/// Returns whether only one of the two can be listened on, as far as their text tells.
fn overlaps(one: &ListenSocket, other: &ListenSocket) -> bool {
    match (one, other) {
        (
            ListenSocket::Tcp { host, port },
            ListenSocket::Tcp {
                host: other_host,
                port: other_port,
            },
        ) => {
            let is_everywhere = is_unspecified(host) || is_unspecified(other_host);
            port == other_port && *port != 0 && (host == other_host || is_everywhere)
        }
        (one, other) => one == other,
    }
}

impl ListenAddresses {
    pub fn has_tls(&self) -> bool {
        self.0.iter().any(|address| address.is_tls)
    }
}

impl fmt::Display for ListenAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, address) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma}{address}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_is_read_as_ever_and_several_stand_between_commas() {
        for text in [
            "tcp://127.0.0.1:12379",
            "unix:///run/kine.sock:12379",
            "https://:2379,tcp://127.0.0.1:2380,unix:///run/k.sock",
            "tcp://127.0.0.1:0,https://127.0.0.1:0",
            "tcp://127.0.0.1:1,tcp://[::1]:1",
        ] {
            let addresses: ListenAddresses = text.parse().unwrap();
            assert_eq!(addresses.to_string(), text);
        }
        let empty: ListenAddresses = "".parse().unwrap();
        assert_eq!(empty.to_string(), "unix://kine.sock");
        let spaced: ListenAddresses = "tcp://a:1, unix:///x".parse().unwrap();
        assert_eq!(spaced.to_string(), "tcp://a:1,unix:///x");
    }

    #[test]
    fn what_cannot_be_listened_on_together_is_refused() {
        for (text, told) in [
            ("tcp://a:1,", "missing"),
            (",tcp://a:1", "missing"),
            ("tcp://a:1,b:2", "\"b:2\": write tcp://"),
            ("tcp://a:1,https://a:1", "the same"),
            ("tcp://:1,tcp://127.0.0.1:1", "the same"),
            ("unix:///x,unixs:///x", "the same"),
            (&vec!["tcp://a:0"; MAX_ADDRESSES + 1].join(","), "more than"),
        ] {
            let error = text.parse::<ListenAddresses>().unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
