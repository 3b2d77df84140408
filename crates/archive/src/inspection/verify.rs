//! Reads every object of an archive, and checks each by itself and in its place.

use std::fs::{File, OpenOptions};

use etcd_state::mvcc::Revision;

use super::{Gap, InspectionError};
use crate::{ChainError, Delta, DeltaName, Digest, End, Kind, Listing, ObjectError, Objects};

/// The file that takes bases which are only checked.
pub(super) const NOWHERE: &str = "/dev/null";

/// The numbers of an archive that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub cluster_id: u64,
    pub bases: u64,
    pub deltas: u64,
    pub bytes: u64,
    /// The revision of the first base, and the last revision.
    pub first: Revision,
    pub last: Revision,
    pub gaps: Vec<Gap>,
    /// When the last delta ended, in milliseconds since 1970.
    pub ended_ms: u64,
    /// Deltas in front to which no base leads: a removal was interrupted, or the announcement before them was lost.
    pub unreachable: u64,
}

/// Checks all objects that a reader could need. It holds one delta in memory, and one piece of a base. `progress` is told how many bytes
/// were read.
///
/// Checked are: the checksum of each delta, each change in it, that each delta continues the one before by name, hash,
/// cluster and time, and the size and hash of each base that is announced. Not checked is
/// whether a base is what the deltas before it lead to.
pub async fn verify(
    objects: &Objects,
    mut progress: impl FnMut(u64),
) -> Result<Verified, InspectionError> {
    let listing = objects.list().await?;
    let nowhere = OpenOptions::new().write(true).open(NOWHERE);
    let mut nowhere = nowhere.map_err(|source| InspectionError::Nowhere { source })?;
    let Head {
        delta,
        mut end,
        unreachable,
    } = head(objects, &listing).await?;
    let mut verified = Verified {
        cluster_id: end.cluster_id,
        bases: 1,
        deltas: 1,
        bytes: listing.bases.values().chain(listing.deltas.values()).sum(),
        first: end.last,
        last: end.last,
        gaps: Vec::new(),
        ended_ms: end.ended_ms,
        unreachable,
    };
    check_base(objects, &delta, &mut nowhere, &mut progress).await?;
    while let Some((name, delta, digest)) = next(objects, &listing, &end).await? {
        end = end.follow(name, &delta.header, digest)?;
        let changes = delta.check_changes();
        changes.map_err(|source| InspectionError::Changes { name, source })?;
        verified.deltas += 1;
        progress(listing.deltas.get(&name).copied().unwrap_or_default());
        if delta.header.base().is_some() {
            check_base(objects, &delta, &mut nowhere, &mut progress).await?;
            verified.bases += 1;
        }
        if matches!(delta.header.kind, Kind::BaseAfterGap(_)) {
            verified.gaps.push(Gap {
                first: delta.header.first(),
                last: delta.header.last.previous(),
            });
        }
    }
    verified.last = end.last;
    verified.ended_ms = end.ended_ms;
    Ok(verified)
}

/// The first delta that announces a base.
struct Head {
    delta: Delta,
    end: End,
    unreachable: u64,
}

async fn head(objects: &Objects, listing: &Listing) -> Result<Head, InspectionError> {
    for (unreachable, &name) in (0..).zip(listing.deltas.keys()) {
        let (delta, digest) = objects.delta(name).await?;
        let end = End::at(name, &delta.header, digest)?;
        if delta.header.base().is_some() {
            return Ok(Head {
                delta,
                end,
                unreachable,
            });
        }
    }
    match listing.deltas.first_key_value() {
        None => Err(ChainError::Empty.into()),
        Some((&name, _)) => Err(InspectionError::Headless { name }),
    }
}

/// Returns the delta after the end. A list may lack what was just written; what is listed must be there.
async fn next(
    objects: &Objects,
    listing: &Listing,
    end: &End,
) -> Result<Option<(DeltaName, Delta, Digest)>, InspectionError> {
    let name = end.next;
    match objects.delta(name).await {
        Ok((delta, digest)) => Ok(Some((name, delta, digest))),
        Err(ObjectError::NotFound { .. }) => match listing.deltas.range(name..).next() {
            None => Ok(None),
            Some(_) => Err(ChainError::Missing { missing: name }.into()),
        },
        Err(error) => Err(error.into()),
    }
}

async fn check_base(
    objects: &Objects,
    delta: &Delta,
    nowhere: &mut File,
    progress: &mut impl FnMut(u64),
) -> Result<(), InspectionError> {
    let Some((base, info)) = delta.header.base() else {
        return Ok(());
    };
    match objects.read_base(base, info, nowhere, progress).await {
        Err(ObjectError::NotFound { .. }) => Err(ChainError::MissingBase { base }.into()),
        read => Ok(read?),
    }
}
