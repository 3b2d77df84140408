//! `host:port`, and where the etcd API is served.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    path::PathBuf,
    str::FromStr,
};

/// The socket that an empty `--listen=` means in the Go server.
const DEFAULT_SOCKET: &str = "kine.sock";

/// The address of a node, `10.0.0.1:9000`, `[::1]:9000` or `name:9000`, exactly as it was written:
/// dqlite compares addresses as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAddress(String);

impl NodeAddress {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the host without brackets.
    pub fn host(&self) -> &str {
        split(&self.0).map_or("", |(host, _)| host)
    }

    /// Returns whether the host is `0.0.0.0` or `::`, which other nodes cannot dial.
    pub fn is_unspecified(&self) -> bool {
        is_unspecified(self.host())
    }
}

/// Returns whether a host, without brackets, stands for all interfaces: none, `0.0.0.0` or `::`.
pub fn is_unspecified(host: &str) -> bool {
    host.is_empty() || host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified())
}

/// Returns `host:port`, with brackets around an IPv6 address.
pub fn authority(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

impl FromStr for NodeAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (host, port) = split(text)?;
        if host.is_empty() {
            return Err(AddressError::NoHost);
        }
        if port == 0 {
            return Err(AddressError::BadPort);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The address at which the etcd API is served, and whether with TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddress {
    pub is_tls: bool,
    pub socket: ListenSocket,
}

/// `host:port` with an empty host for all interfaces and port 0 for any, or the path of a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenSocket {
    /// The host without brackets.
    Tcp {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

/// Parses the URLs that etcd's clients use, and `tcp` for `http` as in the Go k8s-dqlite.
impl ListenAddress {
    /// Returns the host of a port that is not one of all interfaces.
    pub fn host(&self) -> Option<&str> {
        match &self.socket {
            ListenSocket::Tcp { host, .. } if !is_unspecified(host) => Some(host),
            _ => None,
        }
    }
}

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Ok(ListenSocket::Unix(DEFAULT_SOCKET.into()).into());
        }
        let (scheme, address) = text.split_once("://").ok_or(AddressError::UnknownScheme)?;
        let socket = match scheme {
            "unix" | "unixs" if address.is_empty() => return Err(AddressError::NoPath),
            "unix" | "unixs" => ListenSocket::Unix(address.into()),
            "tcp" | "http" | "https" => {
                // The slash that ends a URL.
                let (host, port) = split(address.strip_suffix('/').unwrap_or(address))?;
                ListenSocket::Tcp {
                    host: host.to_owned(),
                    port,
                }
            }
            _ => return Err(AddressError::UnknownScheme),
        };
        Ok(Self {
            is_tls: matches!(scheme, "https" | "unixs"),
            socket,
        })
    }
}

/// The address without TLS.
impl From<ListenSocket> for ListenAddress {
    fn from(socket: ListenSocket) -> Self {
        Self {
            is_tls: false,
            socket,
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.socket {
            ListenSocket::Tcp { host, port } => {
                let scheme = if self.is_tls { "https" } else { "tcp" };
                write!(f, "{scheme}://{}", authority(host, *port))
            }
            ListenSocket::Unix(path) => {
                let scheme = if self.is_tls { "unixs" } else { "unix" };
                write!(f, "{scheme}://{}", path.display())
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("write it as host:port, such as 10.0.0.1:29001")]
    NotHostPort,
    #[error(
        "the host is missing: write an address that other nodes can reach, such as 10.0.0.1:29001"
    )]
    NoHost,
    #[error("the port must be a number from 1 to 65535")]
    BadPort,
    #[error("an IPv6 address stands in brackets, such as [::1]:29001")]
    BareIpv6,
    #[error("the host is neither an IP address nor a name")]
    BadHost,
    #[error(
        "write tcp://host:port or unix:///path/to/socket; with TLS, https://host:port or \
         unixs:///path/to/socket"
    )]
    UnknownScheme,
    #[error("the path of the socket is missing: write unix:///path/to/socket")]
    NoPath,
}

fn split(text: &str) -> Result<(&str, u16), AddressError> {
    let (host, port) = text.rsplit_once(':').ok_or(AddressError::NotHostPort)?;
    let bracketed = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match bracketed {
        Some(ip) => is_ipv6(ip).then_some(()).ok_or(AddressError::BadHost)?,
        None if host.contains(|c| !is_host_character(c) && c != ':') => {
            return Err(AddressError::BadHost);
        }
        None if host.contains(':') => return Err(AddressError::BareIpv6),
        None => {}
    }
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port
        .parse()
        .ok()
        .filter(|_| is_number)
        .ok_or(AddressError::BadPort)?;
    Ok((bracketed.unwrap_or(host), port))
}

/// Returns whether the text is an IPv6 address, with or without a zone: `fe80::1%eth0`.
fn is_ipv6(text: &str) -> bool {
    let (ip, _zone) = text.split_once('%').unwrap_or((text, ""));
    ip.parse::<Ipv6Addr>().is_ok()
}

fn is_host_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_addresses_keep_their_spelling() {
        for text in [
            "127.0.0.1:9000",
            "[::1]:9000",
            "[fe80::1%eth0]:19001",
            "node-1.example:1",
        ] {
            assert_eq!(text.parse::<NodeAddress>().unwrap().as_str(), text);
        }
        assert!(
            "0.0.0.0:9000"
                .parse::<NodeAddress>()
                .unwrap()
                .is_unspecified()
        );
        assert!("[::]:9000".parse::<NodeAddress>().unwrap().is_unspecified());
        assert!(
            !"10.0.0.1:9000"
                .parse::<NodeAddress>()
                .unwrap()
                .is_unspecified()
        );
    }

    #[test]
    fn bad_node_addresses_say_what_is_wrong() {
        for (text, expected) in [
            ("", AddressError::NotHostPort),
            ("10.0.0.1", AddressError::NotHostPort),
            (":9000", AddressError::NoHost),
            ("10.0.0.1:", AddressError::BadPort),
            ("10.0.0.1:0", AddressError::BadPort),
            ("10.0.0.1:65536", AddressError::BadPort),
            ("10.0.0.1:+80", AddressError::BadPort),
            ("10.0.0.1:http", AddressError::BadPort),
            ("::1:9000", AddressError::BareIpv6),
            ("[10.0.0.1]:9000", AddressError::BadHost),
            ("[::1:9000", AddressError::BadHost),
            ("a b:9000", AddressError::BadHost),
            ("@socket:9000", AddressError::BadHost),
            ("http://10.0.0.1:9000", AddressError::BadHost),
        ] {
            assert_eq!(text.parse::<NodeAddress>(), Err(expected), "{text}");
        }
    }

    fn tcp(host: &str, port: u16) -> ListenAddress {
        let host = host.to_owned();
        ListenSocket::Tcp { host, port }.into()
    }

    fn unix(path: &str) -> ListenAddress {
        ListenSocket::Unix(path.into()).into()
    }

    fn with_tls(address: ListenAddress) -> ListenAddress {
        ListenAddress {
            is_tls: true,
            ..address
        }
    }

    #[test]
    fn listen_addresses_are_tcp_or_unix_with_tls_or_without() {
        for (text, expected) in [
            ("tcp://127.0.0.1:12379", tcp("127.0.0.1", 12379)),
            ("tcp://[::1]:12379", tcp("::1", 12379)),
            ("tcp://:0", tcp("", 0)),
            ("https://:0", with_tls(tcp("", 0))),
            ("https://[::1]:12379", with_tls(tcp("::1", 12379))),
            ("unix:///run/k8s.sock", unix("/run/k8s.sock")),
            ("unixs:///run/k8s.sock", with_tls(unix("/run/k8s.sock"))),
            ("unix:///run/kine.sock:12379", unix("/run/kine.sock:12379")),
            ("unix://kine.sock", unix("kine.sock")),
        ] {
            let address: ListenAddress = text.parse().unwrap();
            assert_eq!(address, expected, "{text}");
            assert_eq!(address.to_string(), text);
        }
        assert_eq!("".parse(), Ok(unix("kine.sock")));
        assert_eq!("http://127.0.0.1:1".parse(), Ok(tcp("127.0.0.1", 1)));
        assert_eq!("http://127.0.0.1:1/".parse(), Ok(tcp("127.0.0.1", 1)));
    }

    #[test]
    fn bad_listen_addresses_say_what_is_wrong() {
        for (text, expected) in [
            ("127.0.0.1:12379", AddressError::UnknownScheme),
            ("udp://127.0.0.1:2379", AddressError::UnknownScheme),
            ("/run/k8s.sock", AddressError::UnknownScheme),
            ("unix:/k8s.sock", AddressError::UnknownScheme),
            ("unix://", AddressError::NoPath),
            ("unixs://", AddressError::NoPath),
            ("tcp://localhost", AddressError::NotHostPort),
            ("https://localhost:1/path", AddressError::BadPort),
        ] {
            assert_eq!(text.parse::<ListenAddress>(), Err(expected), "{text}");
        }
    }
}
