//! Calls of any method with any bytes.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use rand::Rng;
use rand::rngs::StdRng;
use tokio::task::JoinHandle;
use tonic::codegen::{Service, http};

use crate::harness::*;

/// A stream that waits for more is left alone after this.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(100);

/// The action of a body after its bytes are sent.
#[derive(Clone, Copy)]
enum Then {
    End,
    Wait,
}

struct Raw {
    bytes: Option<Bytes>,
    then: Then,
}

impl Body for Raw {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match (self.bytes.take(), self.then) {
            (Some(bytes), _) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            (None, Then::End) => Poll::Ready(None),
            // Nobody wakes it: the call ends when it is dropped.
            (None, Then::Wait) => Poll::Pending,
        }
    }
}

/// The code at the end of the answer, if there is one.
async fn call(api: Api, path: String, body: Raw) -> Option<String> {
    let mut channel = api.channel.clone();
    let request = http::Request::post(path)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(tonic::body::Body::new(body))
        .unwrap();
    poll_fn(|context| channel.poll_ready(context)).await.ok()?;
    let response = channel.call(request).await.ok()?;
    let code = |headers: &http::HeaderMap| {
        let code = headers.get("grpc-status")?;
        Some(code.to_str().ok()?.to_owned())
    };
    let mut found = code(response.headers());
    let mut body = response.into_body();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        found = found.or(frame.ok()?.trailers_ref().and_then(code));
    }
    found
}

/// The code of a call that ends.
pub async fn whole(api: &Api, path: &str, bytes: Bytes) -> Option<String> {
    let body = Raw {
        bytes: Some(bytes),
        then: Then::End,
    };
    let call = call(api.clone(), path.to_owned(), body);
    tokio::time::timeout(TIMEOUT, call).await.ok()?
}

/// Makes a call with a body that may stay open, and so may the call.
pub async fn answered(api: &Api, path: &str, bytes: Bytes, random: &mut StdRng) -> Option<String> {
    let then = match random.random_bool(0.9) {
        true => Then::End,
        false => Then::Wait,
    };
    let bytes = Some(bytes);
    let call = call(api.clone(), path.to_owned(), Raw { bytes, then });
    tokio::time::timeout(ANSWER_TIMEOUT, call).await.ok()?
}

/// A call that is under way until it is dropped.
pub struct Unfinished(JoinHandle<Option<String>>);

impl Unfinished {
    pub fn has_ended(&self) -> bool {
        self.0.is_finished()
    }
}

/// Waits for the end of any of the calls, which goes, and returns its code.
pub async fn refused(calls: &mut Vec<Unfinished>) -> Option<String> {
    let mut ended = None;
    until("a call ends", async || {
        ended = calls.iter().position(Unfinished::has_ended);
        ended.is_some()
    })
    .await;
    let mut call = calls.swap_remove(ended?);
    (&mut call.0).await.ok()?
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub fn unfinished(api: &Api, path: &str, bytes: Bytes) -> Unfinished {
    let body = Raw {
        bytes: Some(bytes),
        then: Then::Wait,
    };
    Unfinished(tokio::spawn(call(api.clone(), path.to_owned(), body)))
}
