//! A backup through any node's etcd API, while it serves.

use std::time::Duration;

use bytes::Bytes;
use dqlite::wire::NodeId;
use etcd_proto::etcdserverpb::{HashKvRequest, SnapshotRequest, SnapshotResponse};
use etcd_state::mvcc::Revision;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tonic::Streaming;

use crate::{
    args::BackupArgs,
    backup::{BackupError, Head, KnownHash, PartialFile, Piece, SnapshotInfo, Written, write},
    process::progress::Progress,
    remote::{Remote, RemoteError},
};

/// Blobs of 32 KiB that wait to be compressed.
const QUEUE_BLOBS: usize = 64;

/// The longest that the server may take to begin: it looks at every version first, and more clients
/// may want a snapshot.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(300);

/// The longest silence after that.
const BLOB_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest wait for the hash after the snapshot is there. A backup is good without it.
const HASH_TIMEOUT: Duration = Duration::from_secs(60);

/// `now_s` is in seconds since 1970.
pub async fn run(args: &BackupArgs, now_s: u64) -> Result<Written, BackupError> {
    let partial = PartialFile::create(args.file(), args.force)?;
    let (tls, login) = (args.remote.tls_files(), args.remote.login());
    let remote = Remote::connect(&args.endpoint, &tls, login.as_ref()).await?;
    let mut fetching = Fetching::begin(remote).await?;
    let (pieces, mut queue) = mpsc::channel(QUEUE_BLOBS);
    let head = Head { created_s: now_s };
    let writing =
        tokio::task::spawn_blocking(move || write(partial, head, || Ok(queue.blocking_recv())));
    let sent = fetching.send(pieces).await;
    let written = writing.await.expect("writing does not panic");
    // Without one of the server, the other's error is the reason.
    match (sent, written) {
        (Err(Some(error)), _) => Err(error),
        (_, written) => written,
    }
}

struct Fetching {
    remote: Remote,
    stream: Streaming<SnapshotResponse>,
    first: SnapshotResponse,
    hash: Option<JoinHandle<Option<KnownHash>>>,
}

impl Fetching {
    async fn begin(remote: Remote) -> Result<Self, BackupError> {
        let asking = async {
            let mut maintenance = remote.maintenance.clone();
            let mut stream = maintenance.snapshot(SnapshotRequest {}).await?.into_inner();
            let first = stream.message().await?;
            Ok((stream, first))
        };
        let begun = timeout(BEGIN_TIMEOUT, asking).await;
        let begun = begun.map_err(|_| silent(&remote, BEGIN_TIMEOUT))?;
        let (stream, first) = begun.map_err(|status| remote.failed(&status))?;
        let first = first.ok_or_else(|| BackupError::NoStream(remote.url.clone()))?;
        let revision = revision(&first);
        let hash = revision.map(|revision| tokio::spawn(hash(remote.clone(), revision)));
        Ok(Self {
            remote,
            stream,
            first,
            hash,
        })
    }

    /// The error is none when nobody takes the pieces.
    async fn send(
        &mut self,
        pieces: mpsc::Sender<Piece<Bytes>>,
    ) -> Result<(), Option<BackupError>> {
        let first = std::mem::take(&mut self.first);
        let mut info = SnapshotInfo {
            revision: revision(&first),
            ..SnapshotInfo::default()
        };
        if let Some(header) = &first.header {
            info.cluster_id = header.cluster_id;
            info.node_id = NodeId::new(header.member_id);
        }
        let total = first.remaining_bytes + first.blob.len() as u64;
        let mut progress = Progress::bytes("backup", Some(total));
        let mut next = Some(first);
        while let Some(response) = next {
            progress.advance(response.blob.len() as u64);
            let sent = pieces.send(Piece::Blob(response.blob)).await;
            sent.map_err(|_| None)?;
            next = self.next().await.map_err(Some)?;
        }
        progress.finish();
        if let Some(hash) = self.hash.take() {
            let hash = timeout(HASH_TIMEOUT, hash).await;
            info.hash = hash.ok().and_then(Result::ok).flatten();
        }
        pieces.send(Piece::End(info)).await.map_err(|_| None)
    }

    async fn next(&mut self) -> Result<Option<SnapshotResponse>, BackupError> {
        let next = timeout(BLOB_TIMEOUT, self.stream.message()).await;
        let next = next.map_err(|_| silent(&self.remote, BLOB_TIMEOUT))?;
        Ok(next.map_err(|status| self.remote.failed(&status))?)
    }
}

/// etcd does not tell it.
fn revision(first: &SnapshotResponse) -> Option<Revision> {
    let header = first.header.as_ref()?;
    (header.revision > 0).then_some(Revision::new(header.revision))
}

async fn hash(mut remote: Remote, revision: Revision) -> Option<KnownHash> {
    let answer = remote
        .maintenance
        .hash_kv(HashKvRequest {
            revision: revision.number(),
        })
        .await;
    match answer {
        Ok(answer) => {
            let answer = answer.into_inner();
            Some(KnownHash {
                hash: answer.hash,
                compact_revision: Revision::new(answer.compact_revision),
            })
        }
        Err(error) => {
            tracing::info!(%error, "the backup is without the server's hash");
            None
        }
    }
}

fn silent(remote: &Remote, after: Duration) -> RemoteError {
    RemoteError::Silent {
        url: remote.url.clone(),
        seconds: after.as_secs(),
    }
}
