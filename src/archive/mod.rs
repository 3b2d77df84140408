//! The continuous archive: what is committed is also, seconds later, in an object store or a directory.
//!
//! The node that leads writes it. Invariants: only what is committed is archived, and without a gap, or the gap is in the archive
//! by name; nobody waits for the archive; what it lacks is kept within bounds; it is never continued by a store
//! that is of another history, or was put back.
//!
//! | File | Owns |
//! |---|---|
//! | `archiver.rs` | the steps of the node that leads |
//! | `take_up.rs` | where the archive ends, and whether this store continues it |
//! | `collect.rs` | packed changes, from what was just written or from the history |
//! | `records.rs` | leases and settings that changed. Pure |
//! | `base.rs` | a base while it is made |
//! | `run.rs` | the task: when to take a step |
//! | `flush.rs` | what is asked of the task when the server stops |
//! | `metrics.rs` | what is told of it |

mod archiver;
mod base;
mod collect;
mod flush;
mod metrics;
mod records;
mod run;
mod take_up;

use std::time::Duration;

use archive::{
    ChainError, ObjectError,
    place::{self, Place, PlaceError, PlaceOptions},
};
use etcd_state::{mvcc::Revision, requests::RequestError};

pub use self::{
    flush::{Flush, Flushes, flushes},
    metrics::{ARCHIVE, ArchiveMetrics, ArchiveState},
    run::{MakerNow, run},
};

/// The place of the archive, and how often it is written.
#[derive(Debug, Clone)]
pub struct ArchiveSettings {
    url: String,
    options: PlaceOptions,
    place: Place,
    interval: Duration,
}

impl ArchiveSettings {
    /// Opens the place, of which nothing is asked yet.
    pub fn open(url: &str, options: PlaceOptions, interval: Duration) -> Result<Self, PlaceError> {
        Ok(Self {
            url: url.to_owned(),
            place: place::open(url, &options)?,
            options,
            interval,
        })
    }

    /// Opens the place again, with what its files hold now.
    fn open_again(&mut self) -> Result<(), PlaceError> {
        self.place = place::open(&self.url, &self.options)?;
        Ok(())
    }
}

/// The reason why the archive was not written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(
        "it is the archive of cluster {found:x}, but this is cluster {own:x}: choose another place with --archive, or empty \
         this one if nobody needs that archive"
    )]
    Foreign { own: u64, found: u64 },
    #[error(
        "it holds revision {last} of this cluster, but this store is at {head}: the store was put back to an earlier state. \
         The archive is left as it is: restore from it, or choose another place with --archive"
    )]
    Ahead { head: Revision, last: Revision },
    #[error(
        "its revision {revision} is not the one that this store has: the store was put back to an earlier state, and went on \
         from there. The archive is left as it is: choose another place with --archive"
    )]
    Diverged { revision: Revision },
    #[error("another node has continued it")]
    Overtaken,
    #[error("this node leads no more")]
    NotLeading,
    #[error("the store: {0}")]
    Store(#[from] RequestError),
    #[error("packing a base: {0}")]
    Pack(std::io::Error),
}

impl ArchiveError {
    /// Names an error by what can be done, if it is one of the place.
    fn at(self, place: &Place) -> Self {
        let of_place = match &self {
            Self::Object(error) => place.failed_object(error),
            _ => None,
        };
        of_place.map_or(self, Self::Place)
    }

    /// Returns whether this is how things go when the leader changes, and nothing is wrong with the archive.
    fn is_change_of_leader(&self, leads: bool) -> bool {
        matches!(self, Self::Overtaken | Self::NotLeading)
            || (!leads && matches!(self, Self::Store(_)))
    }
}
