//! The header, which says where in the chain a delta stands.

use etcd_state::mvcc::{Revision, RowId};

use super::{DeltaError, Digest, fields::Fields};
use crate::{BaseName, DeltaName};

const MAGIC: [u8; 8] = *b"k8sdelta";
const FORMAT: u16 = 1;

pub const HEADER_BYTES: usize = 8 + 2 + 1 + 1 + 4 + 6 * 8 + 32 + 8 + 8 + 32 + 4 + 4;

/// A base that is announced. Its revision is the last one of the delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseInfo {
    pub nonce: u64,
    pub bytes: u64,
    pub digest: Digest,
}

/// The content of a delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Changes {
        /// The records are all leases and settings that there are.
        has_all_records: bool,
    },
    /// The base is the store that the deltas before lead to.
    Base(BaseInfo),
    /// The base continues nothing: what is between is not in the archive.
    BaseAfterGap(BaseInfo),
}

/// The place of a delta in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub kind: Kind,
    pub name: DeltaName,
    pub cluster_id: u64,
    pub node_id: u64,
    pub last: Revision,
    /// The compaction revision of the store at the end.
    pub compact_revision: Revision,
    /// Milliseconds since 1970.
    pub ended_ms: u64,
    pub previous: Digest,
}

/// The numbers of what follows a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub batches: u32,
    pub records: u32,
}

impl Header {
    pub fn first(&self) -> Revision {
        self.name.first
    }

    /// Returns the base that it announces.
    pub fn base(&self) -> Option<(BaseName, BaseInfo)> {
        let (Kind::Base(info) | Kind::BaseAfterGap(info)) = self.kind else {
            return None;
        };
        let name = BaseName {
            revision: self.last,
            nonce: info.nonce,
        };
        Some((name, info))
    }

    /// Returns the name of the delta after it.
    pub fn next_name(&self) -> Option<DeltaName> {
        self.name.following(self.last)
    }

    pub(super) fn encode(&self, counts: Counts) -> Vec<u8> {
        let (kind, has_all_records) = match self.kind {
            Kind::Changes { has_all_records } => (0, has_all_records),
            Kind::Base(_) => (1, false),
            Kind::BaseAfterGap(_) => (2, false),
        };
        let base = self.base().map_or(
            BaseInfo {
                nonce: 0,
                bytes: 0,
                digest: Digest::NONE,
            },
            |(_, info)| info,
        );
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_be_bytes());
        out.extend([kind, u8::from(has_all_records)]);
        out.extend_from_slice(&self.name.number.to_be_bytes());
        out.extend_from_slice(&self.cluster_id.to_be_bytes());
        out.extend_from_slice(&self.node_id.to_be_bytes());
        out.extend_from_slice(&self.name.first.number().to_be_bytes());
        out.extend_from_slice(&self.last.number().to_be_bytes());
        out.extend_from_slice(&self.compact_revision.number().to_be_bytes());
        out.extend_from_slice(&self.ended_ms.to_be_bytes());
        out.extend_from_slice(&self.previous.0);
        out.extend_from_slice(&base.nonce.to_be_bytes());
        out.extend_from_slice(&base.bytes.to_be_bytes());
        out.extend_from_slice(&base.digest.0);
        out.extend_from_slice(&counts.batches.to_be_bytes());
        out.extend_from_slice(&counts.records.to_be_bytes());
        out
    }

    /// Reads the header from the first [`HEADER_BYTES`] of a delta, whose checksum is not looked at.
    ///
    /// # Errors
    ///
    /// It is no delta, or one of a newer version.
    pub fn parse(bytes: &[u8]) -> Result<Self, DeltaError> {
        Self::parse_with_counts(bytes).map(|(header, _)| header)
    }

    pub(super) fn parse_with_counts(bytes: &[u8]) -> Result<(Self, Counts), DeltaError> {
        let mut fields = Fields(bytes);
        if fields.array() != Some(MAGIC) {
            return Err(DeltaError::Foreign);
        }
        match fields.array().map(u16::from_be_bytes) {
            None => return Err(DeltaError::Short),
            Some(FORMAT) => {}
            Some(format) => return Err(DeltaError::Newer(format)),
        }
        let parsed = take(&mut fields).ok_or(match bytes.len() < HEADER_BYTES {
            true => DeltaError::Short,
            false => DeltaError::Header,
        })?;
        let (header, counts) = &parsed;
        let is_as_written = header.encode(*counts)[..] == bytes[..HEADER_BYTES];
        match is_as_written && header.is_sound(*counts) {
            true => Ok(parsed),
            false => Err(DeltaError::Header),
        }
    }

    fn is_sound(&self, counts: Counts) -> bool {
        let revisions = Revision::FIRST..=RowId::MAX.revision();
        let follows = |last: Revision| last >= self.first().previous();
        let is_empty = counts
            == Counts {
                batches: 0,
                records: 0,
            };
        revisions.contains(&self.first())
            && self.last >= Revision::NONE
            && self.last <= RowId::MAX.revision()
            && follows(self.last)
            && self.compact_revision <= self.last
            && match self.kind {
                Kind::Changes { .. } => counts.batches == 0 || self.last >= self.first(),
                Kind::Base(_) => is_empty && self.last == self.first().previous(),
                Kind::BaseAfterGap(_) => is_empty && self.last >= Revision::FIRST,
            }
    }
}

fn take(fields: &mut Fields<'_>) -> Option<(Header, Counts)> {
    let (kind, has_all_records) = (fields.u8()?, fields.u8()?);
    let number = fields.u32()?;
    let (cluster_id, node_id) = (fields.u64()?, fields.u64()?);
    let first = Revision::new(fields.i64()?);
    let last = Revision::new(fields.i64()?);
    let compact_revision = Revision::new(fields.i64()?);
    let ended_ms = fields.u64()?;
    let previous = Digest(fields.array()?);
    let base = BaseInfo {
        nonce: fields.u64()?,
        bytes: fields.u64()?,
        digest: Digest(fields.array()?),
    };
    let kind = match kind {
        0 => Kind::Changes {
            has_all_records: has_all_records == 1,
        },
        1 => Kind::Base(base),
        2 => Kind::BaseAfterGap(base),
        _ => return None,
    };
    let header = Header {
        kind,
        name: DeltaName { first, number },
        cluster_id,
        node_id,
        last,
        compact_revision,
        ended_ms,
        previous,
    };
    let counts = Counts {
        batches: fields.u32()?,
        records: fields.u32()?,
    };
    Some((header, counts))
}
