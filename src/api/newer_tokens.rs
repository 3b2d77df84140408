//! JSON web tokens of rules that this node has not heard of yet: their requests wait until it has. That is once before all
//! services, and of a stream when it opens, since the rules of a node only become newer. It is not done for simple tokens, which do
//! not name a revision. A serializable read waits for nothing: as by etcd it is refused, and its client asks for another token.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};

use super::{access::Access, status::status};
use crate::store::Store;

/// Beginnings of the paths that are not made to wait: the services about this node alone, which also answer without a leader by the rules that the node
/// has, and ranges, which wait themselves unless they are serializable.
const EXEMPT: [&str; 3] = [
    "/etcdserverpb.Maintenance/",
    "/grpc.",
    "/etcdserverpb.KV/Range",
];

#[derive(Clone)]
pub struct NewerTokens {
    pub access: Arc<Access>,
    pub store: Store,
}

pub async fn catch_up(
    State(NewerTokens { access, store }): State<NewerTokens>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let is_exempt = EXEMPT.iter().any(|start| path.starts_with(start));
    if !is_exempt
        && access.is_behind(request.headers())
        && let Err(error) = store.linearize().await
    {
        return status(error).into_http();
    }
    next.run(request).await
}
