//! The Watch service: requests in, shared responses out.
//!
//! Each call has one task, which reads its requests and catches up its lagging watchers. Live
//! events do not pass through it: the connection takes them from the stream's queue.

mod body;

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use etcd_proto::etcdserverpb::watch_create_request::FilterType;
use etcd_proto::etcdserverpb::watch_request::RequestUnion;
use etcd_proto::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse, watch_server};
use etcd_state::{
    auth::AuthError,
    mvcc::{KeyRange, Revision},
    requests::RequestError,
};
use tonic::codec::CompressionEncoding;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::{
    access::{Access, StreamCaller},
    client_name::client_name,
    leadership::{is_required, no_leader},
    status::status,
};

use crate::top::Clients;
use crate::watch::{CatchUp, CloseReason, CreateRequest, Options, WatchHub, WatchId, WatchStream};
use body::WatchBody;

const WATCH_PATH: &str = "/etcdserverpb.Watch/Watch";

/// The gRPC service. Written on tonic's parts rather than on its generated server, because that
/// encodes every response for every stream.
#[derive(Clone)]
pub struct WatchService {
    hub: Arc<WatchHub>,
    access: Arc<Access>,
    clients: Arc<Clients>,
}

impl WatchService {
    pub fn new(hub: Arc<WatchHub>, access: Arc<Access>, clients: Arc<Clients>) -> Self {
        Self {
            hub,
            access,
            clients,
        }
    }
}

impl NamedService for WatchService {
    const NAME: &'static str = watch_server::SERVICE_NAME;
}

impl Service<http::Request<tonic::body::Body>> for WatchService {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        if request.uri().path() != WATCH_PATH {
            return Box::pin(async { Ok(Status::unimplemented("").into_http()) });
        }
        let service = self.clone();
        Box::pin(async move { Ok(watch(service, request).await) })
    }
}

/// Lets tonic check the request and make the response head; the body is ours. Requests may be
/// compressed; responses are not, since they are shared between streams.
async fn watch(
    service: WatchService,
    request: http::Request<tonic::body::Body>,
) -> http::Response<tonic::body::Body> {
    let mut body = None;
    let codec = ProstCodec::<WatchResponse, WatchRequest>::default();
    let head = Grpc::new(codec)
        .accept_compressed(CompressionEncoding::Gzip)
        .streaming(
            Opener {
                service,
                body: &mut body,
            },
            request,
        )
        .await;
    match body {
        Some(body) => head.map(|_| tonic::body::Body::new(body)),
        None => head,
    }
}

struct Opener<'a> {
    service: WatchService,
    body: &'a mut Option<WatchBody>,
}

impl StreamingService<WatchRequest> for Opener<'_> {
    type Response = WatchResponse;
    type ResponseStream = tokio_stream::Empty<Result<WatchResponse, Status>>;
    type Future = std::future::Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<WatchRequest>>) -> Self::Future {
        let requires_leader = is_required(request.metadata().as_ref());
        let Some(stream) = self.service.hub.open(requires_leader) else {
            return std::future::ready(Err(close_status(CloseReason::ServerStopped)));
        };
        let failure = Arc::new(OnceLock::new());
        *self.body = Some(WatchBody::new(
            Arc::clone(stream.outbound()),
            Arc::clone(&failure),
        ));
        let (metadata, extensions, requests) = request.into_parts();
        let client = client_name(&self.service.access, &metadata, &extensions);
        let open = self.service.clients.open_stream(stream.id(), client);
        let opener = StreamCaller {
            access: Arc::clone(&self.service.access),
            metadata,
            extensions,
        };
        tokio::spawn(async move {
            run(stream, opener, requests, failure).await;
            drop(open);
        });
        std::future::ready(Ok(Response::new(tokio_stream::empty())))
    }
}

/// The task of one stream. Ends when either side closed it.
async fn run(
    stream: WatchStream,
    opener: StreamCaller,
    mut requests: Streaming<WatchRequest>,
    failure: Arc<OnceLock<Status>>,
) {
    let outbound = Arc::clone(stream.outbound());
    let mut has_requests = true;
    while !outbound.is_closed() {
        let is_behind = stream.catch_up() == CatchUp::Behind;
        tokio::select! {
            biased;
            message = requests.message(), if has_requests && outbound.has_request_room() => {
                match message {
                    Ok(Some(request)) => handle(&stream, &opener, request),
                    // As in etcd: a client that only listens from here on goes on listening.
                    Ok(None) => has_requests = false,
                    Err(status) => {
                        let _ = failure.set(status);
                        outbound.close(CloseReason::Client);
                    }
                }
            }
            () = tokio::task::yield_now(), if is_behind => {}
            () = outbound.work(), if !is_behind => {}
        }
    }
}

fn check(opener: &StreamCaller, create: &WatchCreateRequest) -> Result<(), AuthError> {
    match opener.caller()? {
        Some(caller) => caller.check_read(&first_key(create), &create.range_end),
        None => Ok(()),
    }
}

/// Returns the first key of a watch. As in etcd, the empty key stands for the smallest one.
fn first_key(create: &WatchCreateRequest) -> Bytes {
    if create.key.is_empty() {
        Bytes::from_static(&[0])
    } else {
        create.key.clone()
    }
}

fn handle(stream: &WatchStream, opener: &StreamCaller, request: WatchRequest) {
    match request.request_union {
        Some(RequestUnion::CreateRequest(create)) => match check(opener, &create) {
            Ok(()) => stream.create(read_create(create)),
            Err(error) => stream.refuse(&refusal_text(error)),
        },
        Some(RequestUnion::CancelRequest(cancel)) => stream.cancel(WatchId::new(cancel.watch_id)),
        Some(RequestUnion::ProgressRequest(_)) => stream.request_progress(),
        // As in etcd: what a later version may ask for does not end the stream.
        None => {}
    }
}

fn read_create(request: WatchCreateRequest) -> CreateRequest {
    let key = first_key(&request);
    let filters = |wanted: FilterType| request.filters.contains(&wanted.into());
    // The copies let go of the connection's read buffer.
    let copy = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
    CreateRequest {
        watch_id: (request.watch_id != 0).then(|| WatchId::new(request.watch_id)),
        range: KeyRange::new(copy(&key), copy(&request.range_end)),
        start_revision: Revision::new(request.start_revision),
        options: Options {
            prev_kv: request.prev_kv,
            no_put: filters(FilterType::Noput),
            no_delete: filters(FilterType::Nodelete),
            fragment: request.fragment,
        },
        progress_notify: request.progress_notify,
    }
}

/// A status in the form in which grpc-go prints it, as etcd sends it.
fn refusal_text(error: AuthError) -> String {
    let status = status(RequestError::Auth(error));
    format!(
        "rpc error: code = {:?} desc = {}",
        status.code(),
        status.message()
    )
}

/// Returns the status for a client. Unavailable makes clientv3 resume its watches, here or
/// elsewhere.
fn close_status(reason: CloseReason) -> Status {
    match reason {
        CloseReason::ServerStopped => Status::unavailable("etcdserver: server stopped"),
        CloseReason::NoLeader => no_leader(),
        CloseReason::LostEvents => {
            Status::unavailable("etcdserver: watch stream lost events, resume it")
        }
        CloseReason::Client => Status::cancelled("etcdserver: watch canceled"),
    }
}

#[cfg(test)]
mod tests;
