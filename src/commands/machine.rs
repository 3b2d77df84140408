//! This machine's name and address, as other nodes know them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use nix::{ifaddrs::getifaddrs, unistd::gethostname};

/// Addresses of documentation (RFC 5737, RFC 3849): nothing is sent to them, they only ask for the way out.
const OUTSIDE: [&str; 2] = ["192.0.2.1:9", "[2001:db8::1]:9"];

/// The address of the default route, else any that is not only for this machine, else that.
pub fn primary() -> IpAddr {
    let routed = OUTSIDE.iter().find_map(|outside| {
        let outside: SocketAddr = outside.parse().expect("it is an address");
        let any: SocketAddr = match outside {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(outside).ok()?;
        Some(socket.local_addr().ok()?.ip()).filter(is_for_others)
    });
    let of_interfaces = || {
        let found = getifaddrs().ok()?;
        let mut ips = found.filter_map(|interface| {
            let address = interface.address?;
            let ip = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
                (Some(v4), _) => IpAddr::V4(v4.ip()),
                (_, Some(v6)) => IpAddr::V6(v6.ip()),
                _ => return None,
            };
            is_for_others(&ip).then_some(ip)
        });
        ips.next()
    };
    routed
        .or_else(of_interfaces)
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

fn is_for_others(ip: &IpAddr) -> bool {
    let is_link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !ip.is_loopback() && !ip.is_unspecified() && !is_link_local
}

/// A name that fits a certificate.
pub fn host_name() -> String {
    let name = gethostname().unwrap_or_default();
    let name = name.to_string_lossy().to_lowercase();
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    match !name.is_empty() && name.chars().all(fits) {
        true => name,
        false => "localhost".to_owned(),
    }
}
