//! Maintenance.Snapshot.

use std::pin::Pin;

use etcd_proto::etcdserverpb::SnapshotResponse;
use tokio_stream::{Stream, StreamExt};
use tonic::{Response, Status};
use tracing::info;

use super::{Identity, status::status};
use crate::{
    cluster::node::Membership,
    store::{Store, snapshot},
};

pub type SnapshotStream = Pin<Box<dyn Stream<Item = Result<SnapshotResponse, Status>> + Send>>;

/// The file is made as fast as the client takes it.
pub async fn snapshot(
    store: &Store,
    identity: &Identity,
    membership: &Membership,
) -> Result<Response<SnapshotStream>, Status> {
    let origin = snapshot::Origin {
        member_id: identity.member_id,
        raft_term: identity.raft_term(),
        members: membership.for_snapshot().await,
    };
    let file = store.snapshot(origin).await.map_err(status)?;
    info!(
        revision = file.revision().number(),
        bytes = file.remaining_bytes(),
        "sending a snapshot"
    );
    // The API promises it with the first one; etcd leaves it out.
    let mut header = Some(identity.header(file.revision()));
    let blobs = tokio_stream::iter(file).map(move |blob| (header.take(), blob));
    let blobs = blobs.then(async |(header, blob)| {
        // Making a blob takes a thread some time, and the writer may wait for one.
        tokio::task::yield_now().await;
        Ok(SnapshotResponse {
            header,
            remaining_bytes: blob.remaining_bytes,
            blob: blob.bytes.into(),
            version: snapshot::STORAGE_VERSION.to_owned(),
        })
    });
    Ok(Response::new(Box::pin(blobs)))
}
