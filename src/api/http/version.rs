//! `/version`.

use axum::{Router, http::header, middleware::from_fn, response::IntoResponse, routing::any};

use super::headers::only_get;
use crate::api::{ETCD_VERSION, STORAGE_VERSION};

pub(super) fn routes() -> Router {
    Router::new()
        .route("/version", any(version))
        .route_layer(from_fn(only_get))
}

/// The cluster's version is that of the storage: both are the minor release that all members speak.
async fn version() -> impl IntoResponse {
    let body = format!(
        r#"{{"etcdserver":"{ETCD_VERSION}","etcdcluster":"{STORAGE_VERSION}","storage":"{STORAGE_VERSION}"}}"#
    );
    ([(header::CONTENT_TYPE, "application/json")], body)
}
