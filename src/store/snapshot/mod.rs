//! The store at one revision as a database file of etcd, which etcd's own tools restore.
//!
//! Invariants: the rows, the leases and the compaction revision in it belong to one revision; the
//! writer goes on meanwhile; what it needs in memory beside the index is references to versions.

mod content;
mod file;
mod member;
pub mod row;

use etcd_state::requests::RequestError;
use tokio::sync::{Semaphore, SemaphorePermit};

use self::content::Content;
pub use self::{
    content::{Origin, SETTINGS, STORAGE_VERSION, StoredLease},
    file::{BLOB_BYTES, SnapshotFile},
    member::{MEMBERS, StoredMember},
};
use super::{ReadSnapshotState, SnapshotState, Store};

/// Snapshots that are taken at a time: each keeps the versions that it refers to in memory, for as
/// long as its client takes to read it.
const MAX_AT_ONCE: usize = 4;

static PERMITS: Semaphore = Semaphore::const_new(MAX_AT_ONCE);

/// The most times that a snapshot begins again because its revision was compacted in between.
const MAX_ATTEMPTS: usize = 3;

impl Store {
    /// Takes a snapshot of the current revision.
    pub async fn snapshot(&self, origin: Origin) -> Result<SnapshotFile, RequestError> {
        let permit: SemaphorePermit<'static> = PERMITS
            .try_acquire()
            .map_err(|_| RequestError::TooManyRequests)?;
        let content = self.content(origin).await?;
        let measuring =
            tokio::task::spawn_blocking(move || SnapshotFile::new(content, Some(permit)));
        Ok(measuring.await.expect("measuring does not panic"))
    }

    async fn content(&self, origin: Origin) -> Result<Content, RequestError> {
        let mut attempts = MAX_ATTEMPTS;
        loop {
            let SnapshotState {
                revision,
                leases,
                settings,
            } = self.submit(ReadSnapshotState).await?;
            let history = self.history().clone();
            let collecting = tokio::task::spawn_blocking(move || history.versions(revision));
            attempts -= 1;
            match collecting.await.expect("collecting does not panic") {
                Ok(versions) => {
                    return Ok(Content {
                        versions,
                        leases,
                        settings,
                        origin,
                    });
                }
                Err(error) if attempts == 0 => return Err(error.into()),
                Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
