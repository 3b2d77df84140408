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
//! | `open.rs` | from a URL to a place |
//! | `metrics.rs` | what is told of it |

mod archiver;
mod base;
mod collect;
mod metrics;
mod open;
mod records;
mod run;
mod take_up;

use std::{sync::Arc, time::Duration};

use archive::{ChainError, ObjectError};
use etcd_state::{mvcc::Revision, requests::RequestError};
use object_store::ObjectStore;

pub use self::{
    metrics::{ARCHIVE, ArchiveMetrics, ArchiveState},
    open::{OpenPlaceError, open},
    run::{MakerNow, run},
};

/// The place of the archive, and how often it is written.
#[derive(Clone)]
pub struct ArchiveSettings {
    /// The place as it may be shown: without credentials.
    pub place: String,
    /// The place as the root of a store.
    pub store: Arc<dyn ObjectStore>,
    pub interval: Duration,
}

impl std::fmt::Debug for ArchiveSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} every {:?}", self.place, self.interval)
    }
}

/// The reason why the archive was not written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
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
    /// Returns whether this is how things go when the leader changes, and nothing is wrong with the archive.
    fn is_change_of_leader(&self, leads: bool) -> bool {
        matches!(self, Self::Overtaken | Self::NotLeading)
            || (!leads && matches!(self, Self::Store(_)))
    }
}
