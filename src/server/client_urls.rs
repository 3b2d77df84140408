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

/// Whom a URL is of use to, the fewest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// Another machine may have a socket of the same name.
    Socket,
    /// A loopback address, where other nodes are elsewhere.
    Machine,
    All,
}

impl ClientUrls {
    /// Takes the URLs of the operator. Without any they follow from the addresses of the listeners, and
    /// from the node's own where one names no host. Of several, those are told that reach most.
    pub fn new(advertised: &[String], listeners: &[&ListenAddress], node_address: &str) -> Self {
        if !advertised.is_empty() {
            return Self {
                own: advertised.to_vec(),
                published: advertised.to_vec(),
            };
        }
        let node_address = node_address.parse::<NodeAddress>();
        let node_host = node_address.as_ref().map_or(LOOPBACK, NodeAddress::host);
        let urls: Vec<(String, Reach)> = listeners.iter().map(|at| url(at, node_host)).collect();
        let widest = urls.iter().map(|(_, reach)| *reach).max();
        let told = urls.into_iter().filter(|(_, reach)| Some(*reach) == widest);
        let own: Vec<String> = told.map(|(url, _)| url).collect();
        let published = match widest {
            Some(Reach::All) => own.clone(),
            _ => Vec::new(),
        };
        Self { own, published }
    }
}

fn url(listen: &ListenAddress, node_host: &str) -> (String, Reach) {
    let ListenSocket::Tcp { host, port } = &listen.socket else {
        return (listen.to_string(), Reach::Socket);
    };
    let host = match is_unspecified(host) {
        true => node_host,
        false => host,
    };
    let scheme = if listen.is_tls { "https" } else { "http" };
    let reach = match is_loopback(host) && !is_loopback(node_host) {
        true => Reach::Machine,
        false => Reach::All,
    };
    (format!("{scheme}://{}", authority(host, *port)), reach)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(listen: &str, node_address: &str) -> (String, bool) {
        let urls = ClientUrls::new(&[], &[&listen.parse().unwrap()], node_address);
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
    fn of_several_listeners_those_are_told_that_most_can_reach() {
        let at =
            ["unix:///x", "http://127.0.0.1:2", "https://:1"].map(|text| text.parse().unwrap());
        let [socket, loopback, everywhere]: &[ListenAddress; 3] = &at;
        let told = |listeners: &[&ListenAddress]| {
            let urls = ClientUrls::new(&[], listeners, "10.0.0.1:9000");
            (urls.own, urls.published.len())
        };
        let all = (vec!["https://10.0.0.1:1".to_owned()], 1);
        assert_eq!(told(&[socket, loopback, everywhere]), all);
        let machine = (vec!["http://127.0.0.1:2".to_owned()], 0);
        assert_eq!(told(&[socket, loopback]), machine);
        let alone = ClientUrls::new(&[], &[loopback, everywhere], "127.0.0.1:9000");
        assert_eq!(alone.own, ["http://127.0.0.1:2", "https://127.0.0.1:1"]);
        assert_eq!(alone.published, alone.own);
    }

    #[test]
    fn the_operator_knows_better() {
        let advertised = ["http://proxy:1".to_owned(), "http://proxy:2".to_owned()];
        let urls = ClientUrls::new(
            &advertised,
            &[&"unix:///x".parse().unwrap()],
            "10.0.0.1:9000",
        );
        assert_eq!(
            (&urls.own[..], &urls.published[..]),
            (&advertised[..], &advertised[..])
        );
    }
}
