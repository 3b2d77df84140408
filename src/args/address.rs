//! `host:port`, and where the etcd API is served.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    path::PathBuf,
    str::FromStr,
};

/// What `--listen=` means in the Go server.
const DEFAULT_SOCKET: &str = "kine.sock";

/// The address of a node, `10.0.0.1:9000`, `[::1]:9000` or `name:9000`, exactly as it was written:
/// dqlite compares addresses as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAddress(String);

impl NodeAddress {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the host is `0.0.0.0` or `::`, which other nodes cannot dial.
    pub fn is_unspecified(&self) -> bool {
        let host = split(&self.0).map_or("", |(host, _)| host);
        host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified())
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

/// `host:port` with an empty host for all interfaces and port 0 for any, or the path of a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// The host without brackets.
    Tcp {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Ok(Self::Unix(DEFAULT_SOCKET.into()));
        }
        match text.split_once("://") {
            Some(("unix", "")) => Err(AddressError::NoPath),
            Some(("unix", path)) => Ok(Self::Unix(path.into())),
            Some(("tcp", address)) => {
                let (host, port) = split(address)?;
                Ok(Self::Tcp {
                    host: host.to_owned(),
                    port,
                })
            }
            _ => Err(AddressError::UnknownScheme),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("write it as host:port, such as 10.0.0.1:9000")]
    NotHostPort,
    #[error(
        "the host is missing: write an address that other nodes can reach, such as 10.0.0.1:9000"
    )]
    NoHost,
    #[error("the port must be a number from 1 to 65535")]
    BadPort,
    #[error("an IPv6 address stands in brackets, such as [::1]:9000")]
    BareIpv6,
    #[error("the host is neither an IP address nor a name")]
    BadHost,
    #[error("write tcp://host:port or unix:///path/to/socket")]
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

/// With a zone or without: `fe80::1%eth0`.
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

    #[test]
    fn listen_addresses_are_tcp_or_unix() {
        let tcp = |host: &str, port| ListenAddress::Tcp {
            host: host.to_owned(),
            port,
        };
        let unix = |path: &str| ListenAddress::Unix(path.into());
        for (text, expected) in [
            ("tcp://127.0.0.1:12379", tcp("127.0.0.1", 12379)),
            ("tcp://[::1]:12379", tcp("::1", 12379)),
            ("tcp://:0", tcp("", 0)),
            ("unix:///run/k8s.sock", unix("/run/k8s.sock")),
            ("unix:///run/kine.sock:12379", unix("/run/kine.sock:12379")),
            ("unix://kine.sock", unix("kine.sock")),
        ] {
            let address: ListenAddress = text.parse().unwrap();
            assert_eq!(address, expected, "{text}");
            assert_eq!(address.to_string(), text);
        }
        assert_eq!("".parse(), Ok(unix("kine.sock")));
        for text in [
            "127.0.0.1:12379",
            "http://127.0.0.1:2379",
            "/run/k8s.sock",
            "unix:/k8s.sock",
        ] {
            assert_eq!(
                text.parse::<ListenAddress>(),
                Err(AddressError::UnknownScheme),
                "{text}"
            );
        }
        assert_eq!(
            "unix://".parse::<ListenAddress>(),
            Err(AddressError::NoPath)
        );
        assert_eq!(
            "tcp://localhost".parse::<ListenAddress>(),
            Err(AddressError::NotHostPort)
        );
    }
}
