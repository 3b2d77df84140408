//! HTTP responses: one message, a stream of them, or an error.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{body::Body as HttpBody, response::Response};
use bytes::Bytes;
use http_body::{Body, Frame};
use serde_json::json;
use tonic::{
    Code, Status,
    codegen::http::{HeaderValue, StatusCode, header},
};

use super::{methods::Method, replies::Replies, transcode};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// grpc-gateway passes the head of the gRPC response on, and this is all that etcd has there.
const GRPC_METADATA: (&str, HeaderValue) = (
    "grpc-metadata-content-type",
    HeaderValue::from_static("application/grpc"),
);

fn ok(body: HttpBody) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(GRPC_METADATA.0, GRPC_METADATA.1);
    response
}

pub fn single(json: Vec<u8>) -> Response {
    ok(HttpBody::from(json))
}

/// Returns a line for each message, as soon as the client takes it: nothing is read ahead, so a
/// slow client slows down only its own call.
pub fn stream(method: Arc<Method>, first: Option<Bytes>, rest: Replies) -> Response {
    ok(HttpBody::new(Lines {
        method,
        first,
        rest,
        is_over: false,
    }))
}

struct Lines {
    method: Arc<Method>,
    first: Option<Bytes>,
    rest: Replies,
    is_over: bool,
}

impl Lines {
    fn line(&self, message: Bytes) -> Result<Vec<u8>, Status> {
        let mut line = br#"{"result":"#.to_vec();
        transcode::write(&self.method.reply, message, &mut line)?;
        line.extend_from_slice(b"}\n");
        Ok(line)
    }
}

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let next = match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => ready!(self.rest.poll_next(context)),
        };
        let line = match next {
            Ok(None) => None,
            Ok(Some(message)) => Some(self.line(message)),
            Err(status) => Some(Err(status)),
        };
        self.is_over = !matches!(line, Some(Ok(_)));
        let line = line.map(|line| {
            line.unwrap_or_else(|status| format!("{}\n", json!({"error": error(&status)})).into())
        });
        Poll::Ready(line.map(|line| Ok(Frame::data(line.into()))))
    }
}

/// A `google.rpc.Status`, without details: etcd has none.
fn error(status: &Status) -> serde_json::Value {
    match status.message() {
        "" => json!({"code": status.code() as i32}),
        message => json!({"code": status.code() as i32, "message": message}),
    }
}

pub fn refusal(status: &Status) -> Response {
    let mut response = Response::new(HttpBody::from(error(status).to_string()));
    *response.status_mut() = http_status(status.code());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    if status.code() == Code::Unauthenticated
        && let Ok(message) = HeaderValue::from_str(status.message())
    {
        headers.insert(header::WWW_AUTHENTICATE, message);
    }
    response
}

/// grpc-gateway's table (`runtime/errors.go`).
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::from_u16(499).expect("in the range of codes"),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
