//! The ports that systemd holds for services, which are not taken but kept.

use std::{
    net::{IpAddr, SocketAddr},
    process::Command,
    time::Duration,
};

use super::{bundle::UNITS, program};

/// systemd answers at once, or not at all.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of the list: a machine has some dozen socket units.
const MAX_LIST_BYTES: u64 = 1024 * 1024;

/// A socket unit, and the unit that gets the connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketUnit {
    address: SocketAddr,
    pub name: String,
    pub service: String,
}

impl SocketUnit {
    pub fn is_of_server(&self) -> bool {
        UNITS.contains(&self.service.as_str())
    }
}

/// Returns the socket units that listen; none without systemd.
pub async fn list() -> Vec<SocketUnit> {
    let mut command = Command::new("systemctl");
    command.args(["list-sockets", "--plain", "--no-legend", "--no-pager"]);
    let listed = program::printed(&mut command, MAX_LIST_BYTES, LIST_TIMEOUT).await;
    listed.map_or(Vec::new(), |text| parse(&String::from_utf8_lossy(&text)))
}

/// Each line has the address, the socket unit, and the unit that it starts.
fn parse(text: &str) -> Vec<SocketUnit> {
    let units = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some(SocketUnit {
            address: words.next()?.parse().ok()?,
            name: words.next()?.to_owned(),
            service: words.next().unwrap_or_default().to_owned(),
        })
    });
    units.collect()
}

/// Returns the unit that holds a port. A host that is no IP address may be any.
pub fn holder<'a>(units: &'a [SocketUnit], host: &str, port: u16) -> Option<&'a SocketUnit> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let ip: Option<IpAddr> = host.parse().ok();
    units.iter().find(|unit| {
        let held = unit.address.ip();
        let is_same = ip.is_none_or(|ip| ip == held || ip.is_unspecified());
        unit.address.port() == port && (is_same || held.is_unspecified())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "\
/run/dbus/system_bus_socket dbus.socket       dbus.service
127.0.0.1:12379             k8s-dqlite.socket k8s-dqlite.service
[::]:22                     ssh.socket        ssh.service
[::1]:9                     alone.socket
";

    #[test]
    fn a_port_is_held_by_the_unit_that_listens_there() {
        let units = parse(LISTED);
        assert_eq!(units.len(), 3);
        let name = |host, port| holder(&units, host, port).map(|it| it.name.as_str());
        assert_eq!(name("127.0.0.1", 12379), Some("k8s-dqlite.socket"));
        assert_eq!(name("localhost", 12379), Some("k8s-dqlite.socket"));
        assert_eq!(name("", 12379), Some("k8s-dqlite.socket"));
        assert_eq!(name("10.0.0.1", 12379), None);
        assert_eq!(name("10.0.0.1", 22), Some("ssh.socket"));
        assert_eq!(name("[::1]", 9), Some("alone.socket"));
        assert_eq!(name("127.0.0.1", 1), None);
        assert!(units[0].is_of_server() && !units[1].is_of_server());
    }
}
