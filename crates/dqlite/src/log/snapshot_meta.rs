//! The `.meta` file of a snapshot: which nodes the cluster had (dqlite: src/raft/uv_snapshot.c,
//! `uvSnapshotLoadMeta`).
//!
//! Four numbers of eight bytes, little endian: format 1, a checksum over all that follows, the index
//! of the entry that the nodes are from, and the length of the nodes in bytes; then the nodes.

use crate::wire::Server;

use super::{
    bytes::u64_at,
    configuration,
    crc::crc32,
    damage::{DamageKind, Fault},
};

const HEADER_BYTES: usize = 32;

/// The engine takes no larger one (dqlite: uv_snapshot.c, `UV__META_MAX_CONFIGURATION_SIZE`).
pub const FILE_BYTES_MAX: u64 = HEADER_BYTES as u64 + 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotMeta {
    pub configuration_index: u64,
    pub servers: Vec<Server>,
}

pub fn read(bytes: &[u8], snapshot_index: u64) -> Result<SnapshotMeta, Fault> {
    let number = |at| {
        u64_at(bytes, at).ok_or_else(|| {
            let (found, expected) = (bytes.len() as u64, HEADER_BYTES as u64);
            Fault::of_file(DamageKind::Length { found, expected })
        })
    };
    let (format, checksum) = (number(0)?, number(8)?);
    let (configuration_index, len_bytes) = (number(16)?, number(24)?);
    if format != 1 {
        return Err(Fault::at(0, DamageKind::Format(format)));
    }
    let (found, expected) = (
        bytes.len() as u64,
        len_bytes.saturating_add(HEADER_BYTES as u64),
    );
    if found != expected {
        return Err(Fault::of_file(DamageKind::Length { found, expected }));
    }
    if u64::from(crc32(&bytes[16..], 0)) != checksum {
        return Err(Fault::at(8, DamageKind::Checksum));
    }
    let servers = configuration::decode(&bytes[HEADER_BYTES..]);
    match servers {
        Some(servers) if configuration_index <= snapshot_index => Ok(SnapshotMeta {
            configuration_index,
            servers,
        }),
        _ => Err(Fault::at(HEADER_BYTES, DamageKind::Configuration)),
    }
}
