//! Routes each request: gRPC to its services, everything else to the HTTP endpoints.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    Router,
    http::{HeaderMap, Request, Response, Version, header},
};
use places::Incomplete;
use tonic::codegen::Service;

use crate::api::{
    Peer,
    counted::{Answering, Counted, CountedBody},
    incomplete::{Content, CountedRequest},
};

/// The service of all connections.
#[derive(Clone)]
pub struct GrpcOrHttp {
    pub grpc: Counted,
    pub http: Router,
    /// The incomplete requests of all connections.
    pub incomplete: Arc<Incomplete>,
    /// The largest message of gRPC.
    pub max_message_bytes: usize,
}

impl Service<Request<tonic::body::Body>> for GrpcOrHttp {
    type Response = Response<CountedBody>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // A router is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let peer = request.extensions().get::<Peer>().cloned();
        let on_connection = peer.as_ref().map(Peer::begin_call);
        let is_grpc = is_grpc(request.version(), request.headers());
        let on = peer.map(|peer| (peer, self.incomplete.clone()));
        let content = match is_grpc {
            true => Content::Messages {
                max_bytes: self.max_message_bytes,
            },
            false => Content::Whole,
        };
        let request = request.map(|body| CountedRequest::new(body, on, content));
        let answer = if is_grpc {
            self.grpc.call(request)
        } else {
            Answering::uncounted(self.http.call(request))
        };
        answer.keeping(on_connection)
    }
}

/// Returns whether a request is gRPC, by etcd's rule (server/embed/serve.go, `grpcHandlerFunc`).
fn is_grpc(version: Version, headers: &HeaderMap) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    version == Version::HTTP_2
        && headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(GRPC))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_http_2_with_its_content_type() {
        let is_grpc_with = |version, kind: Option<&str>| {
            let kind = kind.map(|kind| (header::CONTENT_TYPE, kind.parse().unwrap()));
            is_grpc(version, &kind.into_iter().collect())
        };
        for kind in ["application/grpc", "application/grpc+proto"] {
            assert!(is_grpc_with(Version::HTTP_2, Some(kind)), "{kind}");
            assert!(!is_grpc_with(Version::HTTP_11, Some(kind)), "{kind}");
        }
        assert!(!is_grpc_with(Version::HTTP_2, Some("application/json")));
        assert!(!is_grpc_with(Version::HTTP_2, None));
    }
}
