//! Bodies of which the next bytes come within a time, or not at all.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use object_store::client::{HttpError, HttpRequestBody, HttpResponseBody};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::fault::{Fault, innermost};

/// Bytes of a request that are handed on at a time: each is a sign that the server takes more.
const PIECE_BYTES: usize = 64 * 1024;

/// When the last piece of a request was taken.
#[derive(Clone)]
pub struct Progress(Arc<Mutex<Instant>>);

impl Progress {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for what is asked until there was no progress for this long. None if that was so.
    pub async fn within<T>(&self, silence: Duration, asked: impl Future<Output = T>) -> Option<T> {
        let mut asked = pin!(asked);
        loop {
            let until = self.last() + silence;
            tokio::select! {
                answered = &mut asked => return Some(answered),
                () = sleep_until(until) => {
                    if self.last() + silence <= until {
                        return None;
                    }
                }
            }
        }
    }
}

/// The body of a request that notes how much of it was taken.
#[derive(Debug)]
pub struct Watched {
    body: HttpRequestBody,
    rest: Bytes,
    progress: Progress,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Progress")
    }
}

pub fn watch(body: HttpRequestBody) -> (Watched, Progress) {
    let progress = Progress::new();
    let watched = Watched {
        body,
        rest: Bytes::new(),
        progress: progress.clone(),
    };
    (watched, progress)
}

impl Body for Watched {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        self.progress.note();
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => self.rest = frame.into_data().unwrap_or_default(),
            }
        }
        let bytes = PIECE_BYTES.min(self.rest.len());
        let piece = self.rest.split_to(bytes);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let body = self.body.size_hint().exact();
        body.map_or_else(SizeHint::default, |body| SizeHint::with_exact(rest + body))
    }
}

/// The body of an answer. A new wait begins with each piece.
struct Bounded {
    body: Incoming,
    host: Arc<str>,
    silence: Duration,
    waits: Option<Pin<Box<Sleep>>>,
}

pub fn bound(body: Incoming, host: Arc<str>, silence: Duration) -> HttpResponseBody {
    HttpResponseBody::new(Bounded {
        body,
        host,
        silence,
        waits: None,
    })
}

impl Body for Bounded {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let host = Arc::clone(&self.host);
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.waits = None;
            let broken = |error: hyper::Error| {
                let reason = innermost(&error);
                Fault::Broken { host, reason }.into()
            };
            return Poll::Ready(frame.map(|frame| frame.map_err(broken)));
        }
        let silence = self.silence;
        let waits = self.waits.get_or_insert_with(|| Box::pin(sleep(silence)));
        ready!(waits.as_mut().poll(context));
        let seconds = silence.as_secs();
        Poll::Ready(Some(Err(Fault::Silent { host, seconds }.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
