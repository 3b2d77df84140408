//! The envelope of a backup file: head and trailer around the snapshot. Pure.
//!
//! A backup is a gzip file of three members, of which the first and the last unpack to nothing: so any
//! gunzip makes the snapshot of it, with the checksum that etcdutl wants. Head and trailer stand in the extra
//! field of their member's header, as subfield `kd`; numbers are big-endian:
//!
//! | Head | bytes | | Trailer | bytes |
//! |---|---|---|---|---|
//! | `H` | 1 | | `T` | 1 |
//! | version, 1 | 2 | | version, 1 | 2 |
//! | made at, seconds since 1970 | 8 | | bytes of the file before the trailer | 8 |
//! | | | | bytes of the snapshot with its checksum | 8 |
//! | | | | revision, 0 if unknown | 8 |
//! | | | | whether the hash is known | 1 |
//! | | | | HashKV at that revision | 4 |
//! | | | | compaction revision at which it was computed | 8 |
//! | | | | id of the cluster, 0 if unknown | 8 |
//! | | | | id of the node, 0 if unknown | 8 |
//! | | | | SHA-256 of all bytes before it, from the file's first | 32 |

use dqlite::wire::NodeId;
use etcd_state::mvcc::Revision;
use openssl::sha::Sha256;

const VERSION: u16 = 1;

const CHECKSUM_BYTES: usize = 32;
const HEAD_DATA_BYTES: usize = 1 + 2 + 8;
const TRAILER_DATA_BYTES: usize = 1 + 2 + 8 + 8 + 8 + 1 + 4 + 8 + 8 + 8 + CHECKSUM_BYTES;

/// A member's header with one subfield, and its end: no data, and the checksum and length of nothing.
const MEMBER_BYTES: usize = 10 + 2 + 4;
const EMPTY: [u8; 10] = [3, 0, 0, 0, 0, 0, 0, 0, 0, 0];

pub const HEAD_BYTES: usize = MEMBER_BYTES + HEAD_DATA_BYTES + EMPTY.len();
pub const TRAILER_BYTES: usize = MEMBER_BYTES + TRAILER_DATA_BYTES + EMPTY.len();

/// Deflate, an extra field, no name, no time, made by an unknown system.
const GZIP: [u8; 10] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255];
const SUBFIELD: [u8; 2] = *b"kd";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Seconds since 1970.
    pub created_s: u64,
}

/// A HashKV that the server computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownHash {
    pub hash: u32,
    pub compact_revision: Revision,
}

/// The snapshot, as its server described it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SnapshotInfo {
    pub revision: Option<Revision>,
    pub hash: Option<KnownHash>,
    pub cluster_id: u64,
    pub node_id: NodeId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    pub info: SnapshotInfo,
    pub file_bytes: u64,
    pub snapshot_bytes: u64,
    pub checksum: [u8; CHECKSUM_BYTES],
}

/// The reason why bytes are no head or trailer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error("it does not begin like one")]
    Foreign,
    #[error("a newer k8s-dqlite wrote it: use that version")]
    Newer,
    #[error("its end is missing: it was cut off")]
    NoTrailer,
}

fn member(data: &[u8]) -> Vec<u8> {
    let mut bytes = begin(data.len());
    bytes.extend_from_slice(data);
    bytes.extend_from_slice(&EMPTY);
    bytes
}

fn begin(data_bytes: usize) -> Vec<u8> {
    let mut bytes = GZIP.to_vec();
    let data_bytes = data_bytes as u16;
    bytes.extend_from_slice(&(data_bytes + 4).to_le_bytes());
    bytes.extend_from_slice(&SUBFIELD);
    bytes.extend_from_slice(&data_bytes.to_le_bytes());
    bytes
}

/// The data of a member that is exactly as it would be written.
fn data(bytes: &[u8], data_bytes: usize) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(&begin(data_bytes)[..])?;
    rest.strip_suffix(&EMPTY)
        .filter(|data| data.len() == data_bytes)
}

impl Head {
    pub fn encode(&self) -> Vec<u8> {
        let mut data = vec![b'H'];
        data.extend_from_slice(&VERSION.to_be_bytes());
        data.extend_from_slice(&self.created_s.to_be_bytes());
        member(&data)
    }

    /// Reads the head from the first [`HEAD_BYTES`] of a file.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let data = data(bytes, HEAD_DATA_BYTES).ok_or(FormatError::Foreign)?;
        let mut fields = Fields(data);
        if fields.take() != *b"H" {
            return Err(FormatError::Foreign);
        }
        if u16::from_be_bytes(fields.take()) != VERSION {
            return Err(FormatError::Newer);
        }
        let created_s = u64::from_be_bytes(fields.take());
        Ok(Self { created_s })
    }
}

impl Trailer {
    /// Makes the trailer. `hash` has seen all of the file so far.
    pub fn seal(
        info: SnapshotInfo,
        file_bytes: u64,
        snapshot_bytes: u64,
        mut hash: Sha256,
    ) -> Self {
        let mut trailer = Self {
            info,
            file_bytes,
            snapshot_bytes,
            checksum: [0; CHECKSUM_BYTES],
        };
        hash.update(&trailer.before_checksum());
        trailer.checksum = hash.finish();
        trailer
    }

    /// Returns whether `hash`, which has seen all of the file before the trailer, leads to its
    /// checksum.
    pub fn is_of(&self, mut hash: Sha256) -> bool {
        hash.update(&self.before_checksum());
        hash.finish() == self.checksum
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.before_checksum();
        bytes.extend_from_slice(&self.checksum);
        bytes.extend_from_slice(&EMPTY);
        bytes
    }

    fn before_checksum(&self) -> Vec<u8> {
        let mut bytes = begin(TRAILER_DATA_BYTES);
        let SnapshotInfo {
            revision,
            hash,
            cluster_id,
            node_id,
        } = self.info;
        bytes.push(b'T');
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        bytes.extend_from_slice(&self.file_bytes.to_be_bytes());
        bytes.extend_from_slice(&self.snapshot_bytes.to_be_bytes());
        bytes.extend_from_slice(&revision.unwrap_or_default().number().to_be_bytes());
        bytes.push(u8::from(hash.is_some()));
        let (hash, compact_revision) = hash.map_or((0, Revision::NONE), |known| {
            let KnownHash {
                hash,
                compact_revision,
            } = known;
            (hash, compact_revision)
        });
        bytes.extend_from_slice(&hash.to_be_bytes());
        bytes.extend_from_slice(&compact_revision.number().to_be_bytes());
        bytes.extend_from_slice(&cluster_id.to_be_bytes());
        bytes.extend_from_slice(&node_id.number().to_be_bytes());
        bytes
    }

    /// Reads the trailer from the last [`TRAILER_BYTES`] of a file. The head has told the version.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let data = data(bytes, TRAILER_DATA_BYTES).ok_or(FormatError::NoTrailer)?;
        let mut fields = Fields(data);
        if fields.take() != *b"T" || u16::from_be_bytes(fields.take()) != VERSION {
            return Err(FormatError::NoTrailer);
        }
        let file_bytes = u64::from_be_bytes(fields.take());
        let snapshot_bytes = u64::from_be_bytes(fields.take());
        let revision = Revision::new(i64::from_be_bytes(fields.take()));
        let [is_known] = fields.take();
        let known = KnownHash {
            hash: u32::from_be_bytes(fields.take()),
            compact_revision: Revision::new(i64::from_be_bytes(fields.take())),
        };
        let trailer = Self {
            info: SnapshotInfo {
                revision: (revision > Revision::NONE).then_some(revision),
                hash: (is_known == 1).then_some(known),
                cluster_id: u64::from_be_bytes(fields.take()),
                node_id: NodeId::new(u64::from_be_bytes(fields.take())),
            },
            file_bytes,
            snapshot_bytes,
            checksum: fields.take(),
        };
        // The checksum is over what would be written: bytes that mean the same must not pass.
        match trailer.encode() == bytes {
            true => Ok(trailer),
            false => Err(FormatError::NoTrailer),
        }
    }
}

/// Takes what has been counted before.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_first_chunk().expect("all fields are there");
        self.0 = rest;
        *field
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn info() -> impl Strategy<Value = SnapshotInfo> {
        let hash = any::<Option<(u32, i64)>>();
        (proptest::option::of(1..i64::MAX), hash, any::<(u64, u64)>()).prop_map(
            |(revision, hash, (cluster_id, node_id))| SnapshotInfo {
                revision: revision.map(Revision::new),
                hash: hash.map(|(hash, compact_revision)| KnownHash {
                    hash,
                    compact_revision: Revision::new(compact_revision),
                }),
                cluster_id,
                node_id: NodeId::new(node_id),
            },
        )
    }

    proptest! {
        #[test]
        fn head_and_trailer_are_read_as_written(
            info in info(), lengths: (u64, u64), created_s: u64, before: Vec<u8>
        ) {
            let head = Head { created_s };
            let bytes = head.encode();
            prop_assert_eq!(bytes.len(), HEAD_BYTES);
            prop_assert_eq!(Head::parse(&bytes), Ok(head));
            let mut hash = Sha256::new();
            hash.update(&before);
            let trailer = Trailer::seal(info, lengths.0, lengths.1, hash.clone());
            let bytes = trailer.encode();
            prop_assert_eq!(bytes.len(), TRAILER_BYTES);
            let read = Trailer::parse(&bytes).unwrap();
            prop_assert_eq!(read, trailer);
            prop_assert!(read.is_of(hash.clone()));
            hash.update(b"x");
            prop_assert!(!read.is_of(hash));
        }

        #[test]
        fn any_flipped_bit_of_a_trailer_is_noticed(
            info in info(), at in 0..TRAILER_BYTES, bit in 0..8_u32
        ) {
            let mut bytes = Trailer::seal(info, 7, 9, Sha256::new()).encode();
            bytes[at] ^= 1 << bit;
            let parsed = Trailer::parse(&bytes);
            prop_assert!(parsed.is_err() || !parsed.unwrap().is_of(Sha256::new()));
        }
    }

    #[test]
    fn a_file_of_somebody_else_is_told_from_a_newer_one() {
        assert_eq!(Head::parse(b""), Err(FormatError::Foreign));
        let mut bytes = Head { created_s: 1 }.encode();
        bytes[MEMBER_BYTES + 2] = 2;
        assert_eq!(Head::parse(&bytes), Err(FormatError::Newer));
        bytes[MEMBER_BYTES] = b'T';
        assert_eq!(Head::parse(&bytes), Err(FormatError::Foreign));
    }
}
