//! A hash of the store at a revision, bit for bit the one of etcd's HashKV (`mvcc/hash.go`), so that
//! copies of a store can be compared, with an etcd too.

use etcd_state::{
    mvcc::{History, Revision, Versions},
    requests::RequestError,
};
use tokio::sync::Semaphore;

use super::{Store, snapshot::row};

/// Hashes that are computed at a time. Each occupies a thread, and reads all of the store from
/// memory; who comes later waits.
const MAX_AT_ONCE: usize = 2;

static PERMITS: Semaphore = Semaphore::const_new(MAX_AT_ONCE);

/// etcd's name for the bucket of versions.
const KEY_BUCKET: &[u8] = b"key";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreHash {
    /// CRC-32 with the polynomial of Castagnoli.
    pub hash: u32,
    pub hash_revision: Revision,
    pub compact_revision: Revision,
}

impl Store {
    /// The hash up to `revision`, 0 for the current one.
    pub async fn hash(&self, revision: Revision) -> Result<StoreHash, RequestError> {
        let permit = PERMITS.acquire().await.expect("is never closed");
        let history = self.history().clone();
        let hashing = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            hash(&history, revision)
        });
        hashing.await.expect("hashing does not panic")
    }
}

/// The hash up to `revision`, 0 for the current one. Reads the whole store.
pub fn hash(history: &History, revision: Revision) -> Result<StoreHash, RequestError> {
    if revision < Revision::NONE {
        // For etcd this is a revision that comes before every version.
        return Ok(StoreHash {
            hash: crc32c::crc32c(KEY_BUCKET),
            hash_revision: revision,
            compact_revision: history.compact_revision(),
        });
    }
    let versions = history.hashed_versions(revision)?;
    Ok(StoreHash {
        hash: hash_versions(&versions),
        hash_revision: versions.revision,
        compact_revision: versions.compact_revision,
    })
}

fn hash_versions(versions: &Versions) -> u32 {
    let mut row = Vec::new();
    versions
        .iter()
        .fold(crc32c::crc32c(KEY_BUCKET), |hash, kv| {
            row.clear();
            row::RowKey::of(kv).append_to(&mut row);
            row::append_value(kv, &mut row);
            crc32c::crc32c_append(hash, &row)
        })
}
