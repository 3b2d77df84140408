//! The nodes of the cluster as a log entry or a snapshot has them (dqlite:
//! src/raft/configuration.c).
//!
//! One byte 1, the number of nodes in eight bytes, and for each its id in eight, its address with
//! a NUL byte behind, and its role in one. All numbers are little endian; unused bytes may follow.

use crate::wire::{NodeId, Role, Server};

use super::bytes::take_u64;

/// The nodes, or `None` where the engine would refuse to decode them.
pub fn decode(bytes: &[u8]) -> Option<Vec<Server>> {
    let mut rest = bytes.strip_prefix(&[1])?;
    let count = take_u64(&mut rest)?;
    let mut servers: Vec<Server> = Vec::new();
    for _ in 0..count {
        let id = NodeId::new(take_u64(&mut rest)?);
        let end = rest.iter().position(|byte| *byte == 0)?;
        let address = String::from_utf8(rest[..end].to_vec()).ok()?;
        let role = match rest.get(end + 1)? {
            0 => Role::StandBy,
            1 => Role::Voter,
            2 => Role::Spare,
            _ => return None,
        };
        rest = &rest[end + 2..];
        let is_known = |other: &Server| other.id == id || other.address == address;
        if id.is_unknown() || servers.iter().any(is_known) {
            return None;
        }
        servers.push(Server { id, address, role });
    }
    (!servers.is_empty()).then_some(servers)
}

/// Returns the bytes of these nodes, a multiple of 8.
pub fn encode(servers: &[Server]) -> Vec<u8> {
    let mut bytes = vec![1];
    bytes.extend((servers.len() as u64).to_le_bytes());
    for server in servers {
        bytes.extend(server.id.number().to_le_bytes());
        bytes.extend(server.address.as_bytes());
        bytes.push(0);
        bytes.push(match server.role {
            Role::StandBy => 0,
            Role::Voter => 1,
            Role::Spare => 2,
        });
    }
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(servers: &[(u64, &str, u8)]) -> Vec<u8> {
        let mut bytes = vec![1];
        bytes.extend((servers.len() as u64).to_le_bytes());
        for (id, address, role) in servers {
            bytes.extend(id.to_le_bytes());
            bytes.extend(address.as_bytes());
            bytes.extend([0, *role]);
        }
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    #[test]
    fn nodes_with_their_roles() {
        let servers = decode(&encoded(&[(1, "a:1", 1), (2, "b:2", 0), (3, "c:3", 2)])).unwrap();
        let roles: Vec<_> = servers.iter().map(|server| server.role).collect();
        assert_eq!(roles, [Role::Voter, Role::StandBy, Role::Spare]);
        assert_eq!(servers[1].address, "b:2");
        assert_eq!(
            encode(&servers),
            encoded(&[(1, "a:1", 1), (2, "b:2", 0), (3, "c:3", 2)])
        );
    }

    #[test]
    fn what_the_engine_does_not_decode() {
        for servers in [
            &[(1, "a:1", 1), (1, "b:2", 1)][..],
            &[(1, "a:1", 1), (2, "a:1", 1)],
            &[(1, "a:1", 3)],
            &[(0, "a:1", 1)],
        ] {
            assert_eq!(decode(&encoded(servers)), None, "{servers:?}");
        }
        let whole = encoded(&[(1, "a:1", 1)]);
        for len in 0..whole.len() - 2 {
            assert_eq!(decode(&whole[..len]), None, "{len} bytes");
        }
    }
}
