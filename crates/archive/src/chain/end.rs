//! The end of a chain, as far as somebody has read or written it.

use etcd_state::mvcc::Revision;

use super::ChainError;
use crate::{DeltaName, Digest, Header, Kind};

/// A delta as the one that the next must continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    pub cluster_id: u64,
    pub name: DeltaName,
    pub digest: Digest,
    /// The last revision of the archive up to here.
    pub last: Revision,
    pub compact_revision: Revision,
    /// Milliseconds since 1970.
    pub ended_ms: u64,
    /// The only name that continues it.
    pub next: DeltaName,
}

impl End {
    /// Starts at a delta that was found under a name, whatever is before it.
    ///
    /// # Errors
    ///
    /// It is not the one of that name, or nothing can follow it.
    pub fn at(name: DeltaName, header: &Header, digest: Digest) -> Result<Self, ChainError> {
        if header.name != name {
            let found = header.name;
            return Err(ChainError::Misnamed { name, found });
        }
        let is_first = name == DeltaName::GENESIS;
        let begins = is_first && header.previous == Digest::NONE;
        let is_after_gap = matches!(header.kind, Kind::BaseAfterGap(_));
        if is_first != (header.previous == Digest::NONE) || (begins && !is_after_gap) {
            return Err(ChainError::Fork { name });
        }
        let next = header.next_name().ok_or(ChainError::Exhausted { name })?;
        Ok(Self {
            cluster_id: header.cluster_id,
            name,
            digest,
            last: header.last,
            compact_revision: header.compact_revision,
            ended_ms: header.ended_ms,
            next,
        })
    }

    /// Goes on to the next delta, which was found under a name.
    ///
    /// # Errors
    ///
    /// It does not continue this one.
    pub fn follow(
        &self,
        name: DeltaName,
        header: &Header,
        digest: Digest,
    ) -> Result<Self, ChainError> {
        if name > self.next {
            let missing = self.next;
            return Err(ChainError::Missing { missing });
        }
        if name < self.next {
            return Err(ChainError::Fork { name });
        }
        let next = Self::at(name, header, digest)?;
        if header.cluster_id != self.cluster_id {
            return Err(ChainError::Foreign {
                name,
                expected: self.cluster_id,
                found: header.cluster_id,
            });
        }
        if header.previous != self.digest {
            return Err(ChainError::Fork { name });
        }
        if header.ended_ms < self.ended_ms {
            return Err(ChainError::Time { name });
        }
        Ok(next)
    }

    /// As [`Self::follow`], for somebody who needs every revision.
    ///
    /// # Errors
    ///
    /// Also if the next delta is behind a gap.
    pub fn follow_gapless(
        &self,
        name: DeltaName,
        header: &Header,
        digest: Digest,
    ) -> Result<Self, ChainError> {
        let next = self.follow(name, header, digest)?;
        match header.kind {
            Kind::BaseAfterGap(_) => Err(ChainError::Gap {
                first: header.first(),
                last: header.last.previous(),
            }),
            _ => Ok(next),
        }
    }
}
