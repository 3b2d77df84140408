//! The objects of an archive, as far as names and announcements tell.

use crate::{
    BaseName, ChainError, DeltaName, Listing, Objects,
    retention::{Announcement, Clocks},
};

use super::InspectionError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    pub cluster_id: u64,
    pub listing: Listing,
    /// In the order of their deltas.
    pub announcements: Vec<Announcement>,
    /// Bases of which no delta tells: an upload that goes on, or one that was interrupted.
    pub unannounced: Vec<BaseName>,
    /// The last delta, and when it ended, in milliseconds since 1970.
    pub last: DeltaName,
    pub newest_ms: u64,
}

impl Contents {
    /// Returns the bytes of all objects.
    pub fn bytes(&self) -> u64 {
        let Listing { bases, deltas } = &self.listing;
        bases.values().chain(deltas.values()).sum()
    }

    pub fn clocks(&self, here_ms: u64) -> Clocks {
        Clocks {
            newest_ms: self.newest_ms,
            here_ms,
        }
    }
}

/// Reads the list of an archive, the deltas that may announce its bases, and the last one.
pub async fn contents(objects: &Objects) -> Result<Contents, InspectionError> {
    let listing = objects.list().await?;
    let (last, _) = listing.deltas.last_key_value().ok_or(ChainError::Empty)?;
    let last = *last;
    let (newest, _) = objects.delta(last).await?;
    let mut announcements = Vec::new();
    let mut unannounced = Vec::new();
    for base in listing.bases.keys() {
        match announcement(objects, &listing, *base).await? {
            Some(found) => announcements.push(found),
            None => unannounced.push(*base),
        }
    }
    announcements.sort_by_key(|found| found.delta);
    Ok(Contents {
        cluster_id: newest.header.cluster_id,
        listing,
        announcements,
        unannounced,
        last,
        newest_ms: newest.header.ended_ms,
    })
}

async fn announcement(
    objects: &Objects,
    listing: &Listing,
    base: BaseName,
) -> Result<Option<Announcement>, InspectionError> {
    for delta in listing.announcements_of(base) {
        let (found, _) = objects.delta(delta).await?;
        let announced = found.header.base();
        if announced.is_some_and(|(name, _)| name == base) {
            return Ok(Some(Announcement {
                delta,
                base,
                ended_ms: found.header.ended_ms,
            }));
        }
    }
    Ok(None)
}
