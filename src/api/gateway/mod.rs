//! etcd's JSON gateway: gRPC calls as `POST /v3/…` with JSON.
//!
//! Owns the translation only. A call's JSON becomes a protobuf message by the schema, and goes to the
//! same gRPC router that clients reach, in process: every call works here as it does there, with the
//! same checks. What is JSON, and how errors and streams look, follows grpc-gateway v2 as etcd sets
//! it up (`server/embed/serve.go`).

mod answer;
mod call;
mod deadline;
mod methods;
mod replies;
mod requests;
mod transcode;
mod values;

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    response::{Redirect, Response},
    routing::any,
};
use tonic::{Code, Status, codegen::http::Method as HttpMethod};

use self::methods::Methods;
use super::Counted;

/// The translation alone, without a server: for the fuzz targets.
#[derive(Default)]
pub struct Translator(Methods);

impl Translator {
    pub fn paths(&self) -> Vec<&'static str> {
        self.0.paths()
    }

    /// The JSON of a request as the server understands it; none if it does not.
    pub fn round_trip(&self, path: &str, json: &[u8]) -> Option<Vec<u8>> {
        let kind = &self.0.get(path)?.request;
        let message = transcode::read(kind, json).ok()?;
        let mut written = Vec::new();
        let message = message.slice(transcode::FRAME_HEAD_BYTES..);
        transcode::write(kind, message, &mut written).expect("our own message");
        Some(written)
    }
}

struct Gateway {
    methods: Methods,
    grpc: Counted,
    max_value_bytes: usize,
}

/// The routes below `/v3/`, and their old names below `/v3beta/`, for the services that `grpc` has.
/// Takes messages of any length up to `max_received_bytes`.
pub fn routes(grpc: Counted, max_received_bytes: usize) -> Router {
    let gateway = Arc::new(Gateway {
        methods: Methods::new(),
        grpc,
        max_value_bytes: max_received_bytes * values::JSON_FACTOR,
    });
    Router::new()
        .route("/v3", any(async || Redirect::temporary("/v3/")))
        .route("/v3/", any(serve))
        .route("/v3/{*path}", any(serve))
        .route("/v3beta/{*path}", any(serve))
        .with_state(gateway)
}

async fn serve(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let path = request.uri().path();
    let path = path
        .strip_prefix("/v3/")
        .or_else(|| path.strip_prefix("/v3beta/"))
        .unwrap_or_default();
    let Some(method) = gateway.methods.get(path) else {
        return answer::refusal(&Status::not_found("Not Found"));
    };
    if request.method() != HttpMethod::POST {
        return answer::refusal(&Status::new(Code::Unimplemented, "Method Not Allowed"));
    }
    match call::run(
        method.clone(),
        gateway.grpc.clone(),
        gateway.max_value_bytes,
        request,
    )
    .await
    {
        Ok(response) => response,
        Err(status) => answer::refusal(&status),
    }
}
