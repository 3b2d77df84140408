//! `--advertise-client-urls`, by etcd's rules for URLs (`client/pkg/types/urls.go`).

use std::str::FromStr;

use crate::address::{ListenAddress, ListenSocket, is_unspecified};

/// URLs in the order of their text, as etcd has them; none if the flag is not given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientUrls(pub Vec<String>);

/// The longest list, in bytes: every node keeps it.
const MAX_BYTES: usize = 4096;

impl FromStr for ClientUrls {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        if text.len() > MAX_BYTES {
            return Err(format!("more than {MAX_BYTES} bytes"));
        }
        let urls = text.split(',').map(str::trim).map(client_url);
        let mut urls = urls.collect::<Result<Vec<String>, String>>()?;
        urls.sort_unstable();
        urls.dedup();
        Ok(Self(urls))
    }
}

fn client_url(text: &str) -> Result<String, String> {
    let wrong = |reason: &str| format!("{text:?}: {reason}");
    if text.is_empty() {
        return Err("a URL is missing".to_owned());
    }
    if text.starts_with("tcp://") {
        return Err(wrong("write http:// or https://, as clients do"));
    }
    let parsed: ListenAddress = text.parse().map_err(|error| wrong(&format!("{error}")))?;
    if let ListenSocket::Tcp { host, port } = &parsed.socket {
        if text.ends_with('/') {
            return Err(wrong("a URL of a client port has no path"));
        }
        if is_unspecified(host) || *port == 0 {
            return Err(wrong("clients of other nodes cannot dial it"));
        }
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_those_that_clients_can_dial() {
        let urls = |text: &str| text.parse::<ClientUrls>().map(|urls| urls.0);
        assert_eq!(urls(""), Ok(vec![]));
        let read = urls("https://b.example:2379, http://[::1]:1,https://b.example:2379");
        assert_eq!(read.unwrap(), ["http://[::1]:1", "https://b.example:2379"]);
        assert_eq!(urls("unix:///run/x").unwrap(), ["unix:///run/x"]);
        for bad in [
            ",",
            "http://a:1,",
            "a:1",
            "tcp://a:1",
            "http://a",
            "http://a:1/",
            "http://a:1/path",
            "http://:1",
            "http://0.0.0.0:1",
            "http://[::]:1",
            "http://a:0",
            "ftp://a:1",
        ] {
            assert!(urls(bad).is_err(), "{bad}");
        }
        let long = format!("http://{}:1", "a".repeat(MAX_BYTES));
        assert!(urls(&long).is_err());
    }
}
