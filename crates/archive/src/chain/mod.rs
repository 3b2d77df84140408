//! The deltas as one chain, and the way to a revision.

mod end;
mod listing;
#[cfg(test)]
mod tests;

use etcd_state::mvcc::Revision;

pub use self::{end::End, listing::Listing};
use crate::{BaseName, DeltaName};

/// The reason why an archive does not lead to a revision, or cannot be continued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    #[error(
        "{name} is of cluster {found:x}, but this is the archive of cluster {expected:x}: two clusters write to one place. \
         Give each its own"
    )]
    Foreign {
        name: DeltaName,
        expected: u64,
        found: u64,
    },
    #[error("{name} holds what belongs to {found}: somebody renamed it, or copied it over another")]
    Misnamed { name: DeltaName, found: DeltaName },
    #[error(
        "{name} does not continue the delta before it: that was replaced, or this is of another chain"
    )]
    Fork { name: DeltaName },
    #[error("{missing} is missing, although the archive goes on: it was deleted")]
    Missing { missing: DeltaName },
    #[error("{name} ends before the delta before it in time, which no k8s-dqlite writes")]
    Time { name: DeltaName },
    #[error(
        "revisions {first} to {last} are not in the archive, which could not be reached when they were written: \
         choose {} or below, or {} or above", .first.previous(), .last.next()
    )]
    Gap { first: Revision, last: Revision },
    #[error("the archive begins at revision {first}, and does not have revision {revision}")]
    TooOld { revision: Revision, first: Revision },
    #[error("the archive ends at revision {last}, and does not have revision {revision} yet")]
    TooNew { revision: Revision, last: Revision },
    #[error("there is no base: this is no archive, or one whose first base is not complete")]
    Empty,
    #[error("{base} is announced, but is not there: it was deleted")]
    MissingBase { base: BaseName },
    #[error("{name} cannot be followed: there are too many deltas without a revision")]
    Exhausted { name: DeltaName },
}
