//! The path of a call: to the gRPC router, and back.

use std::{convert::Infallible, future::poll_fn, sync::Arc};

use axum::{body::Body, extract::Request, response::Response};
use tokio::time::timeout_at;
use tonic::{
    Status,
    codegen::{
        Service,
        http::{
            self, HeaderMap, HeaderName, HeaderValue, Method as HttpMethod, header, request::Parts,
        },
    },
};

use super::{
    answer,
    deadline::{deadline, exceeded},
    methods::Method,
    replies::Replies,
    requests::Requests,
    transcode,
    values::JsonValues,
};
use crate::api::{Counted, Peer, counted::CountedBody};

/// The prefix of headers that carry metadata.
const METADATA_PREFIX: &str = "grpc-metadata-";

pub async fn run(
    method: Arc<Method>,
    grpc: Counted,
    max_value_bytes: usize,
    request: Request,
) -> Result<Response, Status> {
    let (head, body) = request.into_parts();
    let deadline = deadline(&head.headers)?;
    let mut values = JsonValues::new(body, max_value_bytes);
    let first = poll_fn(|context| values.poll_next(context)).await?;
    let body = if method.takes_stream {
        let first = match first {
            Some(json) => Some(transcode::read(&method.request, &json)?),
            None => None,
        };
        Body::new(Requests {
            method: method.clone(),
            first,
            rest: values,
            is_over: false,
        })
    } else {
        let json = first.unwrap_or_default();
        Body::from(transcode::read(&method.request, &json)?)
    };
    let answer = send(grpc, grpc_request(&method, head, body));
    let answer = match deadline {
        Some(deadline) => timeout_at(deadline, answer).await.map_err(|_| exceeded())?,
        None => answer.await,
    };
    let mut replies = Replies::new(answer, deadline);
    // A call that fails before it answers is an error of the whole request, a stream too.
    let first = poll_fn(|context| replies.poll_next(context)).await?;
    if method.gives_stream {
        return Ok(answer::stream(method, first, replies));
    }
    let message = first.ok_or_else(|| Status::internal("the call has no answer"))?;
    // A message counts only when the call ended well.
    if poll_fn(|context| replies.poll_next(context))
        .await?
        .is_some()
    {
        return Err(Status::internal("the call has several answers"));
    }
    let mut json = Vec::with_capacity(2 * message.len());
    transcode::write(&method.reply, message, &mut json)?;
    Ok(answer::single(json))
}

async fn send(mut grpc: Counted, request: Request) -> http::Response<CountedBody> {
    // It is always ready.
    let answered: Result<_, Infallible> = grpc.call(request).await;
    answered.unwrap_or_else(|never| match never {})
}

/// Copies the extensions of the connection, such as the client's address, but not the name in its
/// certificate: in etcd the gateway is the client of these calls, so a client's certificate makes nobody a user here.
fn grpc_request(method: &Method, mut head: Parts, body: Body) -> Request {
    if let Some(peer) = head.extensions.get_mut::<Peer>() {
        peer.forget_common_name();
    }
    let mut request = Request::new(body);
    *request.method_mut() = HttpMethod::POST;
    *request.uri_mut() = method.grpc_path.clone().into();
    *request.headers_mut() = metadata(&head.headers);
    *request.extensions_mut() = head.extensions;
    request
}

/// grpc-gateway's rules (`runtime/context.go`), as far as the services look at metadata: the token
/// comes in `Authorization`, anything else with a prefix.
fn metadata(headers: &HeaderMap) -> HeaderMap {
    let mut metadata = HeaderMap::new();
    for (name, value) in headers {
        if let Some(name) = name.as_str().strip_prefix(METADATA_PREFIX)
            && let Ok(name) = HeaderName::from_bytes(name.as_bytes())
            && !is_reserved(&name)
        {
            metadata.append(name, value.clone());
        }
    }
    if let Some(token) = headers.get(header::AUTHORIZATION) {
        metadata.insert(header::AUTHORIZATION, token.clone());
    }
    metadata.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    metadata
}

/// Returns whether the header belongs to gRPC itself.
fn is_reserved(name: &HeaderName) -> bool {
    name.as_str().starts_with("grpc-") || [header::CONTENT_TYPE, header::TE].contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_what_grpc_gateway_passes_on() {
        let headers = [
            ("authorization", "a token"),
            ("grpc-metadata-hasleader", "true"),
            ("grpc-metadata-token", "another"),
            ("grpc-metadata-grpc-timeout", "1S"),
            ("grpc-metadata-content-type", "text/plain"),
            ("grpc-metadata-", "nothing"),
            ("grpc-timeout", "1S"),
            ("content-type", "application/json"),
            ("content-length", "2"),
            ("cookie", "x"),
        ];
        let headers = headers.map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        let metadata = metadata(&headers.into_iter().collect());
        let mut found: Vec<_> = metadata
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        found.sort_unstable();
        assert_eq!(
            found,
            [
                ("authorization", "a token"),
                ("content-type", "application/grpc"),
                ("hasleader", "true"),
                ("token", "another"),
            ]
        );
    }
}
