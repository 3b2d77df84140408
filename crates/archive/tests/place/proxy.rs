//! A proxy between a place and its server, which does what networks and servers do.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::net::TcpListener;

/// The fate of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It does not reach the server, and is answered with this status.
    Status(u16),
    /// It reaches the server, and is answered with this status.
    Done(u16),
    /// It reaches the server, and the connection breaks before the answer.
    Lost,
    /// It reaches the server twice; the second answer counts.
    Twice,
    /// The answer ends in the middle of its body.
    CutShort,
    /// The answer takes a while.
    Slow(Duration),
    /// There is no answer.
    Never,
}

type Plan = Arc<Mutex<VecDeque<(Method, Fault)>>>;
type Forward = Client<HttpConnector, Full<Bytes>>;

#[derive(Clone)]
pub struct Proxy {
    pub port: u16,
    plan: Plan,
}

impl Proxy {
    pub async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let plan = Plan::default();
        let proxy = Self {
            port,
            plan: Arc::clone(&plan),
        };
        tokio::spawn(serve(listener, server, plan));
        proxy
    }

    /// Does this to the next requests with this method, one after the other.
    pub fn will(&self, method: Method, faults: &[Fault]) {
        let planned = faults.iter().map(|&fault| (method.clone(), fault));
        self.plan.lock().unwrap().extend(planned);
    }

    /// Returns whether all of it has happened.
    pub fn is_done(&self) -> bool {
        self.plan.lock().unwrap().is_empty()
    }
}

async fn serve(listener: TcpListener, server: u16, plan: Plan) {
    let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    while let Ok((stream, _)) = listener.accept().await {
        let (plan, client) = (Arc::clone(&plan), client.clone());
        let service =
            service_fn(move |request| answer(request, server, Arc::clone(&plan), client.clone()));
        let serving = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            let _ = serving.await;
        });
    }
}

fn next(plan: &Plan, method: &Method) -> Option<Fault> {
    let mut plan = plan.lock().unwrap();
    match plan.front() {
        Some((planned, fault)) if planned == method => {
            let fault = *fault;
            plan.pop_front();
            Some(fault)
        }
        _ => None,
    }
}

/// The connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed")]
pub struct Closed;

async fn answer(
    request: Request<Incoming>,
    server: u16,
    plan: Plan,
    client: Forward,
) -> Result<Response<Answer>, Closed> {
    let fault = next(&plan, request.method());
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
    let forward = || {
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = format!("http://127.0.0.1:{server}{path}").parse().unwrap();
        // With the host that was signed.
        *request.headers_mut() = parts.headers.clone();
        let asked = client.request(request);
        async move {
            let (parts, body) = asked.await.map_err(|_| Closed)?.into_parts();
            let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
            Ok(Response::from_parts(parts, Answer::whole(body)))
        }
    };
    let of_status = |status| {
        let text = "<Error><Code>Planned</Code><Message>by the test</Message></Error>";
        let mut answer = Response::new(Answer::whole(text.into()));
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        // What a client wants of a success.
        let tag = hyper::header::HeaderValue::from_static("\"planned\"");
        answer.headers_mut().insert(hyper::header::ETAG, tag);
        answer
    };
    match fault {
        None => forward().await,
        Some(Fault::Status(status)) => Ok(of_status(status)),
        Some(Fault::Done(status)) => forward().await.map(|_| of_status(status)),
        Some(Fault::Lost) => forward().await.and(Err(Closed)),
        Some(Fault::Twice) => {
            forward().await?;
            forward().await
        }
        Some(Fault::CutShort) => Ok(forward().await?.map(Answer::cut)),
        Some(Fault::Slow(time)) => {
            tokio::time::sleep(time).await;
            forward().await
        }
        Some(Fault::Never) => std::future::pending().await,
    }
}

/// A body that may end before its end.
pub struct Answer {
    body: Option<Bytes>,
    bytes: u64,
    is_cut: bool,
}

impl Answer {
    fn whole(body: Bytes) -> Self {
        Self {
            bytes: body.len() as u64,
            body: Some(body),
            is_cut: false,
        }
    }

    fn cut(mut self) -> Self {
        let half = self.bytes as usize / 2;
        self.body = self.body.map(|body| body.slice(..half));
        self.is_cut = true;
        self
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Closed>>> {
        std::task::Poll::Ready(match self.body.take() {
            Some(body) if !body.is_empty() => Some(Ok(Frame::data(body))),
            _ if self.is_cut => Some(Err(Closed)),
            _ => None,
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes)
    }
}
