//! The URL of a server, as etcd and the Go k8s-dqlite write it.

use std::{fmt, str::FromStr};

use crate::address::{AddressError, ListenAddress, ListenSocket, authority};

/// `http://host:port`, `tcp://` or nothing for the same, `https://host:port`, `unix:///path`, `unixs:///path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointUrl(ListenAddress);

impl EndpointUrl {
    pub fn is_tls(&self) -> bool {
        self.0.is_tls
    }

    pub fn socket(&self) -> &ListenSocket {
        &self.0.socket
    }

    /// Returns the name that the server's certificate must be for.
    pub fn host(&self) -> &str {
        match &self.0.socket {
            ListenSocket::Tcp { host, .. } => host,
            ListenSocket::Unix(_) => "localhost",
        }
    }

    /// Returns `host:port`, as in the header `:authority`.
    pub fn authority(&self) -> String {
        match &self.0.socket {
            ListenSocket::Tcp { host, port } => authority(host, *port),
            ListenSocket::Unix(_) => "localhost".to_owned(),
        }
    }
}

impl FromStr for EndpointUrl {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let address = match text.contains("://") {
            true => text.parse::<ListenAddress>()?,
            false => format!("http://{text}").parse()?,
        };
        let ListenAddress { is_tls, socket } = address;
        let socket = match socket {
            ListenSocket::Tcp { port: 0, .. } => return Err(AddressError::BadPort),
            // What listens on all interfaces is there.
            ListenSocket::Tcp { host, port } if host.is_empty() => ListenSocket::Tcp {
                host: "127.0.0.1".to_owned(),
                port,
            },
            socket => socket,
        };
        Ok(Self(ListenAddress { is_tls, socket }))
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0.socket, self.0.is_tls) {
            (ListenSocket::Tcp { .. }, false) => write!(f, "http://{}", self.authority()),
            _ => self.0.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_written_as_for_etcdctl_or_as_listen() {
        for (text, shown, is_tls) in [
            ("127.0.0.1:2379", "http://127.0.0.1:2379", false),
            ("http://a:1/", "http://a:1", false),
            ("tcp://:12379", "http://127.0.0.1:12379", false),
            ("https://[::1]:2379", "https://[::1]:2379", true),
            ("unix:///run/x.sock", "unix:///run/x.sock", false),
            ("unix://kine.sock", "unix://kine.sock", false),
            ("unixs:///run/x.sock", "unixs:///run/x.sock", true),
        ] {
            let url: EndpointUrl = text.parse().unwrap();
            assert_eq!((url.to_string(), url.is_tls()), (shown.to_owned(), is_tls));
        }
        for text in ["", "a", "a:0", "ftp://a:1", "unix://"] {
            assert!(text.parse::<EndpointUrl>().is_err(), "{text}");
        }
    }
}
