//! Counts gRPC calls where all of them pass: those of connections, and those of the gateway. Those that
//! ask for a leader are refused here without one.

use std::{
    cell::Cell,
    convert::Infallible,
    pin::Pin,
    sync::LazyLock,
    task::{Context, Poll, ready},
    time::Instant,
};

use axum::{
    BoxError, Router,
    body::Body as RouterBody,
    http::{HeaderMap, Request, Response},
    response::Response as RouterResponse,
    routing::future::RouteFuture,
};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use telemetry::{
    metrics::{CALLS, MethodCalls},
    tracing::{CallContext, within},
};
use tonic::{Status, codegen::Service};

use super::{
    compression::accept_as_sent,
    leadership::{Leadership, Lost, no_leader},
};

const STATUS: &str = "grpc-status";

/// The status code of a call whose client left before its end: gRPC's Canceled.
const CANCELLED: usize = 1;

/// The status code Unknown of gRPC.
const UNKNOWN: usize = 2;

thread_local! {
    /// The end of the request of the call that is polled, until it is noted.
    static RECEIVED: Cell<Option<Reception>> = const { Cell::new(None) };
}

/// The end of a request.
#[derive(Debug, Clone, Copy)]
enum Reception {
    /// Nobody had to wait: reading the clock once more would cost more than that.
    AtOnce,
    At(Instant),
}

/// The gRPC services.
#[derive(Clone)]
pub struct Counted {
    services: Router,
    leadership: Leadership,
}

impl Counted {
    pub fn new(services: Router, leadership: Leadership) -> Self {
        // Here rather than with the first call.
        LazyLock::force(&CALLS);
        Self {
            services,
            leadership,
        }
    }
}

impl<B> Service<Request<B>> for Counted
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<CountedBody>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // A router is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answering {
        let method = CALLS.method(request.uri().path());
        let call = method.map(|method| Call::start(method, request.headers()));
        let is_stream = method.is_some_and(MethodCalls::is_stream);
        let (answer, lost) = match self.leadership.check(request.headers(), is_stream) {
            Ok(lost) => {
                let ends = method.is_some() && !is_stream;
                let mut request = request.map(|body| Received::new(body, ends));
                accept_as_sent(request.headers_mut());
                (Answer::Coming(self.services.call(request)), lost)
            }
            Err(status) => (Answer::Refused(status), None),
        };
        Answering {
            answer,
            call,
            lost,
            on_connection: None,
        }
    }
}

/// A call that has not ended. Dropped, it was cut off.
struct Call {
    method: &'static MethodCalls,
    /// As in etcd, the time at which the whole request is there; of a stream, that of its beginning.
    started: Instant,
    is_received: bool,
    /// The record of the call for traces and the log of slow requests.
    call_context: Option<Box<CallContext>>,
    is_over: bool,
}

impl Call {
    fn start(method: &'static MethodCalls, headers: &HeaderMap) -> Self {
        method.started.increment();
        let started = Instant::now();
        Self {
            method,
            started,
            is_received: method.is_stream(),
            call_context: CallContext::begin(method, headers, started),
            is_over: false,
        }
    }

    fn received(&mut self, reception: Reception) {
        self.is_received = true;
        if let Reception::At(now) = reception {
            self.started = now;
            if let Some(call_context) = &mut self.call_context {
                call_context.received(now);
            }
        }
    }

    fn end(&mut self, code: usize) {
        if !std::mem::replace(&mut self.is_over, true) {
            let now = Instant::now();
            self.method.handled(code, now - self.started);
            if let Some(call_context) = self.call_context.take() {
                call_context.end(code, now);
            }
        }
    }

    fn end_by(&mut self, headers: &HeaderMap) {
        if let Some(code) = headers.get(STATUS) {
            let code = code.to_str().ok().and_then(|code| code.parse().ok());
            self.end(code.unwrap_or(UNKNOWN));
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.is_over && !self.is_received {
            // Nothing was done for it.
            self.received(Reception::At(Instant::now()));
        }
        self.end(CANCELLED);
    }
}

#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are of it, and each would be allocated"
)]
enum Answer {
    Coming(RouteFuture<Infallible>),
    Refused(Status),
}

/// An answer on its way.
pub struct Answering {
    answer: Answer,
    call: Option<Call>,
    /// The end of a stream that needs a leader.
    lost: Option<Lost>,
    /// Keeps the connection from being idle.
    on_connection: Option<places::Call>,
}

impl Answering {
    /// Keeps the connection from being idle until the end of the answer.
    pub fn keeping(mut self, on_connection: Option<places::Call>) -> Self {
        self.on_connection = on_connection;
        self
    }

    /// The answer to a request that is no gRPC call.
    pub fn uncounted(answer: RouteFuture<Infallible>) -> Self {
        Self {
            answer: Answer::Coming(answer),
            call: None,
            lost: None,
            on_connection: None,
        }
    }
}

impl Future for Answering {
    type Output = Result<Response<CountedBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let answer: RouterResponse = match &mut this.answer {
            Answer::Refused(status) => status.clone().into_http(),
            Answer::Coming(answer) => {
                let answer = Pin::new(answer);
                let answer = match &mut this.call {
                    Some(call) => {
                        let answer = within(&mut call.call_context, || answer.poll(context));
                        if let Some(reception) = RECEIVED.take() {
                            call.received(reception);
                        }
                        answer
                    }
                    None => answer.poll(context),
                };
                match ready!(answer) {
                    Ok(answer) => answer,
                    Err(never) => match never {},
                }
            }
        };
        let mut call = self.call.take();
        if let Some(call) = &mut call {
            call.end_by(answer.headers());
        }
        let lost = self.lost.take();
        let on_connection = self.on_connection.take();
        Poll::Ready(Ok(answer.map(|body| CountedBody {
            body,
            call,
            lost,
            _on_connection: on_connection,
        })))
    }
}

/// The body of an answer. Its end tells how the call ended.
pub struct CountedBody {
    body: RouterBody,
    call: Option<Call>,
    lost: Option<Lost>,
    _on_connection: Option<places::Call>,
}

impl CountedBody {
    /// Returns the next frame: the end, once the leader is lost and all is sent that there was.
    fn poll_inner(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        let Some(lost) = self.lost.as_mut().filter(|_| frame.is_pending()) else {
            return frame;
        };
        ready!(lost.as_mut().poll(context));
        self.lost = None;
        self.body = RouterBody::empty();
        let mut trailers = HeaderMap::new();
        let added = no_leader().add_header(&mut trailers);
        Poll::Ready(Some(
            added
                .map(|()| Frame::trailers(trailers))
                .map_err(axum::Error::new),
        ))
    }
}

impl Body for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(self.poll_inner(context));
        if let Some(call) = &mut self.call {
            match &frame {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        CALLS.sent_bytes.add(data.len() as u64);
                        if let Some(call_context) = &mut call.call_context {
                            call_context.sent(data.len());
                        }
                    } else if let Some(trailers) = frame.trailers_ref() {
                        call.end_by(trailers);
                    }
                }
                Some(Err(_)) | None => call.end(UNKNOWN),
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a request.
struct Received<B> {
    body: B,
    /// Set while its end is still to be noted.
    ends: bool,
    has_waited: bool,
}

impl<B> Received<B> {
    fn new(body: B, ends: bool) -> Self {
        Self {
            body,
            ends,
            has_waited: false,
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Received<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            self.has_waited = true;
            return Poll::Pending;
        };
        let data = match &frame {
            Some(Ok(frame)) => frame.data_ref(),
            _ => None,
        };
        if let Some(data) = data {
            CALLS.received_bytes.add(data.len() as u64);
        }
        if self.ends && (data.is_none() || self.body.is_end_stream()) {
            self.ends = false;
            let reception = match self.has_waited {
                true => Reception::At(Instant::now()),
                false => Reception::AtOnce,
            };
            RECEIVED.set(Some(reception));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
