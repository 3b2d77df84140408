//! The URLs under which clients reach this node. Pure.

use std::net::IpAddr;

use crate::address::{ListenAddress, ListenSocket, NodeAddress, authority, is_unspecified};

/// The host of a URL where nothing better is known.
const LOOPBACK: &str = "127.0.0.1";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientUrls {
    /// The URLs that this node tells its own clients.
    pub own: Vec<String>,
    /// The URLs that it tells the other nodes for theirs.
    pub published: Vec<String>,
}

impl ClientUrls {
    /// Takes the URLs of the operator. Without any they follow from the address of the listener, and
    /// from the node's own where that names no host.
    pub fn new(advertised: &[String], listen: &ListenAddress, node_address: &str) -> Self {
        if !advertised.is_empty() {
            return Self {
                own: advertised.to_vec(),
                published: advertised.to_vec(),
            };
        }
        let node_address = node_address.parse::<NodeAddress>();
        let node_host = node_address.as_ref().map_or(LOOPBACK, NodeAddress::host);
        let (own, is_reachable) = match &listen.socket {
            // Another machine may have a socket of the same name.
            ListenSocket::Unix(_) => (listen.to_string(), false),
            ListenSocket::Tcp { host, port } => {
                let host = match is_unspecified(host) {
                    true => node_host,
                    false => host,
                };
                let scheme = if listen.is_tls { "https" } else { "http" };
                let url = format!("{scheme}://{}", authority(host, *port));
                (url, !is_loopback(host) || is_loopback(node_host))
            }
        };
        Self {
            published: is_reachable.then(|| own.clone()).into_iter().collect(),
            own: vec![own],
        }
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(listen: &str, node_address: &str) -> (String, bool) {
        let urls = ClientUrls::new(&[], &listen.parse().unwrap(), node_address);
        let [own] = &urls.own[..] else {
            panic!("{urls:?}");
        };
        assert!(urls.published.is_empty() || urls.published == urls.own);
        (own.clone(), !urls.published.is_empty())
    }

    #[test]
    fn a_listener_on_all_interfaces_is_at_the_address_of_the_node() {
        let address = "10.0.0.1:9000";
        let expected = ("http://10.0.0.1:2379".to_owned(), true);
        for listen in ["tcp://:2379", "http://0.0.0.0:2379", "tcp://[::]:2379"] {
            assert_eq!(urls(listen, address), expected, "{listen}");
        }
        let ipv6 = ("https://[fd00::1]:2379".to_owned(), true);
        assert_eq!(urls("https://:2379", "[fd00::1]:9000"), ipv6);
        let named = ("http://10.0.0.9:1".to_owned(), true);
        assert_eq!(urls("tcp://10.0.0.9:1", address), named);
        let unknown = ("http://127.0.0.1:1".to_owned(), true);
        assert_eq!(urls("tcp://:1", "@abstract"), unknown);
    }

    #[test]
    fn what_only_this_machine_reaches_is_not_told_to_others() {
        let address = "10.0.0.1:9000";
        for listen in ["http://127.0.0.1:1", "http://localhost:1", "unix:///run/x"] {
            assert_eq!(urls(listen, address), (listen.to_owned(), false));
        }
        let loopback = ("http://127.0.0.1:1".to_owned(), true);
        assert_eq!(urls("tcp://127.0.0.1:1", "127.0.0.1:9000"), loopback);
    }

    #[test]
    fn the_operator_knows_better() {
        let advertised = ["http://proxy:1".to_owned(), "http://proxy:2".to_owned()];
        let urls = ClientUrls::new(&advertised, &"unix:///x".parse().unwrap(), "10.0.0.1:9000");
        assert_eq!(
            (&urls.own[..], &urls.published[..]),
            (&advertised[..], &advertised[..])
        );
    }
}
