//! The routes over plain HTTP, by version 1.1 or 2, on the port of gRPC.
//!
//! Paths, methods, headers and texts are etcd's (server/etcdserver/api/etcdhttp, server/embed/serve.go).

mod grpc_or_http;
mod headers;
mod health;
mod metrics;
mod page;
mod query;
mod top;
mod version;

use axum::{
    Router,
    http::{StatusCode, header},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
};

pub use self::{
    grpc_or_http::GrpcOrHttp,
    headers::WebRules,
    metrics::{Served, Sources},
};
use crate::api::{Counted, gateway};

/// All that is not gRPC, and the gateway to `grpc`.
pub fn http_routes(sources: Sources, grpc: Counted, rules: WebRules) -> Router {
    let max_received_bytes = sources.store.limits().max_received_bytes();
    Router::new()
        .merge(health::routes(sources.clone()))
        .merge(metrics::routes(sources))
        .merge(version::routes())
        .merge(gateway::routes(grpc, max_received_bytes))
        .fallback(async || text(StatusCode::NOT_FOUND, "404 page not found\n"))
        .layer(from_fn_with_state(rules, headers::check_web))
        .with_state(())
}

/// Routes that nobody may use by a web page of somebody else.
pub fn with_rules(routes: Router, rules: WebRules) -> Router {
    routes.layer(from_fn_with_state(rules, headers::check_web))
}

/// The routes of the metrics endpoint, before clients are served and afterwards: those of etcd's
/// `--listen-metrics-urls`, and the status page. `rules` are for those that show names of keys and clients.
pub fn metrics_routes(sources: Sources, rules: WebRules) -> Router {
    Router::new()
        .merge(health::routes(sources.clone()))
        .merge(page::routes(sources.clone()))
        .merge(top::routes(sources.clone(), rules))
        .merge(metrics::routes(sources))
        .merge(version::routes())
        .fallback(async || text(StatusCode::NOT_FOUND, "404 page not found\n"))
        .with_state(())
}

/// Returns a plain-text response with the headers of Go's http.Error.
fn text(status: StatusCode, text: impl Into<String>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, text.into()).into_response()
}
