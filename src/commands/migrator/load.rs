//! Loads files into a server. As with the Go program, an entry that is refused does not stop the
//! others; but then the command fails at the end.

use std::path::Path;

use etcd_proto::etcdserverpb::PutRequest;
use tokio::task::JoinSet;
use tracing::{debug, error};

use super::{
    MigrateError,
    directory::Directory,
    target::{self, Write},
};
use crate::{commands::migrator::entry::Entry, process::progress::Progress, remote::Remote};

/// Entries that are under way at a time, each of which may have the size of the largest request.
const MAX_AT_ONCE: usize = 16;

/// Loads by Put.
pub async fn etcd(remote: Remote, dir: &Path) -> Result<u64, MigrateError> {
    load(remote, dir, |remote, entry| async move {
        let request = PutRequest {
            key: entry.key,
            value: entry.value,
            ..Default::default()
        };
        let put = remote.kv.clone().put(request).await;
        put.map(drop)
            .map_err(|status| remote.failed(&status).to_string())
    })
    .await
}

/// Loads by the transactions that the Go k8s-dqlite knows.
pub async fn dqlite(remote: Remote, dir: &Path) -> Result<u64, MigrateError> {
    load(remote, dir, |remote, entry| async move {
        let write = Write::Put(entry);
        target::write_by_txn(&remote, &write)
            .await
            .map_err(|error| error.to_string())
    })
    .await
}

async fn load<F>(
    remote: Remote,
    dir: &Path,
    restore: impl Fn(Remote, Entry) -> F,
) -> Result<u64, MigrateError>
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let dir = Directory::open(dir);
    let mut progress = Progress::keys("restoring", None);
    let mut running: JoinSet<Result<(), (u64, String)>> = JoinSet::new();
    let (mut index, mut failed) = (0, 0);
    loop {
        let entry = dir.read(index)?;
        let is_last = entry.is_none();
        while running.len() >= MAX_AT_ONCE || (is_last && !running.is_empty()) {
            let joined = running.join_next().await.expect("some are running");
            if let Err((number, error)) = joined.expect("restoring does not panic") {
                failed += 1;
                error!(number, "an entry was not restored: {error}");
            }
            progress.advance(1);
        }
        let Some((key, value)) = entry else { break };
        debug!(number = index, key = %key.escape_ascii(), "restoring");
        let entry = Entry {
            key: key.into(),
            value: value.into(),
            lease: 0,
        };
        let restoring = restore(remote.clone(), entry);
        running.spawn(async move { restoring.await.map_err(|error| (index, error)) });
        index += 1;
    }
    progress.finish();
    match failed {
        0 => Ok(index),
        failed => Err(MigrateError::Incomplete { failed, all: index }),
    }
}
