//! Maintenance.Hash and HashKV.

use etcd_proto::etcdserverpb::{HashKvRequest, HashKvResponse, HashResponse};
use etcd_state::mvcc::Revision;
use tonic::{Response, Status};

use super::{Identity, status::status};
use crate::store::Store;

/// etcd hashes its database file, whose pages differ from member to member; here it is the hash of
/// the current revision, which is the same wherever the store is.
pub async fn hash(store: &Store, identity: &Identity) -> Result<Response<HashResponse>, Status> {
    let found = store.hash(Revision::NONE).await.map_err(status)?;
    Ok(Response::new(HashResponse {
        header: Some(identity.header(found.hash_revision)),
        hash: found.hash,
    }))
}

pub async fn hash_kv(
    store: &Store,
    identity: &Identity,
    request: &HashKvRequest,
) -> Result<Response<HashKvResponse>, Status> {
    let found = store
        .hash(Revision::new(request.revision))
        .await
        .map_err(status)?;
    let revision = store.revision();
    Ok(Response::new(HashKvResponse {
        header: Some(identity.header(revision)),
        hash: found.hash,
        compact_revision: found.compact_revision.number(),
        hash_revision: found.hash_revision.number(),
    }))
}
