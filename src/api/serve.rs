//! All services at each of the listeners: gRPC, and the HTTP endpoints beside it.

use std::{sync::Arc, time::Duration};

use axum::middleware::from_fn_with_state;
use etcd_proto::{
    etcdserverpb::{
        auth_server::AuthServer, cluster_server::ClusterServer, kv_server::KvServer,
        lease_server::LeaseServer, maintenance_server::MaintenanceServer,
    },
    v3electionpb::election_server::ElectionServer,
    v3lockpb::lock_server::LockServer,
};
use etcd_state::auth::{AuthOptions, Tokens};
use operator_proto::operator_server::OperatorServer;
use places::{Limits, Places, Share};
use tokio::sync::watch;
use tokio_stream::StreamExt;
use tonic::{
    service::Routes,
    transport::{Error, Server},
};

use super::{
    ClusterService, Corked, Counted, Identity, Incoming, KvService, LeaseService, Listener,
    MaintenanceService, Stopping, WatchService,
    access::Access,
    auth::AuthService,
    compression::with_gzip,
    concurrency::Recipes,
    election::ElectionService,
    gate::Gate,
    http::{GrpcOrHttp, Sources, WebRules, http_routes, metrics_routes},
    incomplete::incomplete,
    leadership::Leadership,
    lock::LockService,
    newer_tokens::{NewerTokens, catch_up},
    operator::OperatorService,
};
use crate::{
    cluster::{node::Membership, peer::ClusterView},
    compact::ClientCompactions,
    store::Store,
    top::Top,
    watch::WatchHub,
};

/// The largest message that is decoded, in bytes, if the limit on requests is lower. Above etcd's, for what grows when it is
/// decompressed; what comes with more bytes is refused before, by its head.
const MIN_DECODED_BYTES: usize = 16 * 1024 * 1024;

/// Bytes that a connection, and each call on it, may have under way to the server: enough for the
/// largest request without a pause.
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// The largest headers of a request, in bytes, each with 32 more as HTTP/2 counts them: a stream
/// keeps them for as long as it is open.
const MAX_HEADERS_BYTES: u32 = 512 * 1024;

/// The interval of pings to a client, and the longest wait for its answer: etcd's
/// `--grpc-keepalive-interval` and `--grpc-keepalive-timeout`. Clients may ping as often as they
/// like.
const PING_INTERVAL: Duration = Duration::from_secs(2 * 3600);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Clients. A cluster has some tens, with a few connections each; at some 100 KiB per idle connection this bounds the
/// memory to 500 MiB. Strangers have not sent a request; a TLS handshake takes some 50 KiB and a few ms of work.
const CLIENTS: Share = Share {
    percent: 50,
    files_each: 1,
    most: Limits {
        strangers: 1024,
        known: 4096,
    },
};

/// Those who look at metrics, health, the status page or profiles.
const OBSERVERS: Share = Share {
    percent: 5,
    files_each: 1,
    most: Limits {
        strangers: 64,
        known: 256,
    },
};

/// The parts of which the API is built.
pub struct Services {
    pub store: Store,
    pub identity: Arc<Identity>,
    pub hub: Arc<WatchHub>,
    pub top: Arc<Top>,
    pub compactions: Arc<ClientCompactions>,
    pub stopping: Stopping,
    /// The URLs under which clients reach this node.
    pub client_urls: Vec<String>,
    pub membership: Membership,
    /// The leader and the nodes, as this node knows them.
    pub cluster_view: watch::Receiver<ClusterView>,
    /// Calls at a time on one connection.
    pub max_concurrent_streams: u32,
    pub auth: AuthOptions,
    /// The sources of the metrics.
    pub sources: Sources,
    /// The web pages that may use the HTTP endpoints.
    pub web_rules: WebRules,
}

/// Calls of one connection that their client gives up before they are begun. Beyond that the connection is closed: somebody floods
/// it. The default of 20 also meets a client that gives up many calls at once.
const MAX_RESET_STREAMS: usize = 1000;

/// Serves until `stop` is ready and all calls ended.
pub async fn serve(
    services: Services,
    listeners: Vec<Listener>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let (sources, rules) = (services.sources.clone(), services.web_rules.clone());
    let max_concurrent_streams = services.max_concurrent_streams;
    let leadership = Leadership::new(services.cluster_view.clone());
    let incomplete = incomplete(max_decoded_bytes(&services.store));
    let max_message_bytes = services.store.limits().max_received_bytes();
    let grpc = Counted::new(grpc_routes(services).await, leadership);
    let http = http_routes(sources, grpc.clone(), rules);
    let service = GrpcOrHttp {
        grpc,
        http,
        incomplete,
        max_message_bytes,
    };
    let connections = Incoming::new(listeners, Places::new(CLIENTS.limits()))
        .map(|accepted| accepted.map(Corked::new));
    Server::builder()
        .accept_http1(true)
        .max_concurrent_streams(max_concurrent_streams)
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .initial_connection_window_size(WINDOW_BYTES)
        .initial_stream_window_size(WINDOW_BYTES)
        .http2_max_header_list_size(MAX_HEADERS_BYTES)
        .http2_max_pending_accept_reset_streams(Some(MAX_RESET_STREAMS))
        .serve_with_incoming_shutdown(service, connections, stop)
        .await
}

/// Serves metrics, health and the status page, until `stop` is ready.
pub async fn serve_metrics(
    sources: Sources,
    listener: Listener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let rules = WebRules::own_only(listener.address().host());
    serve_http(metrics_routes(sources, rules), listener, stop).await
}

/// Serves plain HTTP without gRPC, until `stop` is ready.
pub async fn serve_http(
    http: axum::Router,
    listener: Listener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let service = GrpcOrHttp {
        grpc: Counted::new(axum::Router::new(), Leadership::default()),
        http,
        incomplete: incomplete(MIN_DECODED_BYTES),
        max_message_bytes: MIN_DECODED_BYTES,
    };
    let connections = Incoming::new([listener], Places::new(OBSERVERS.limits()));
    Server::builder()
        .accept_http1(true)
        .serve_with_incoming_shutdown(service, connections, stop)
        .await
}

fn max_decoded_bytes(store: &Store) -> usize {
    store.limits().max_received_bytes().max(MIN_DECODED_BYTES)
}

async fn grpc_routes(services: Services) -> axum::Router {
    let Services {
        store,
        identity,
        hub,
        top,
        compactions,
        stopping,
        client_urls,
        membership,
        cluster_view: _,
        max_concurrent_streams: _,
        auth,
        sources: _,
        web_rules: _,
    } = services;
    let access = Arc::new(Access {
        rules: store.rules().clone(),
        tokens: Tokens::new(auth.tokens),
    });
    let auth = AuthService::new(
        store.clone(),
        identity.clone(),
        access.clone(),
        auth.bcrypt_cost,
    );
    let (health, health_service) = tonic_health::server::health_reporter();
    health
        .set_service_status("", tonic_health::ServingStatus::Serving)
        .await;
    let max_decoded_bytes = max_decoded_bytes(&store);
    let kv = KvService {
        store: store.clone(),
        identity: identity.clone(),
        compactions,
        access: access.clone(),
        clients: top.clients().clone(),
    };
    let lease = LeaseService {
        store: store.clone(),
        identity: identity.clone(),
        stopping,
        access: access.clone(),
    };
    let recipes = Recipes {
        store: store.clone(),
        identity: identity.clone(),
        hub: hub.clone(),
        access: access.clone(),
    };
    let lock = LockServer::new(LockService(recipes.clone()));
    let election = ElectionServer::new(ElectionService(recipes));
    let cluster = ClusterService {
        identity: identity.clone(),
        membership: membership.clone(),
        store: store.clone(),
        client_urls,
    };
    let kv = KvServer::new(kv).max_decoding_message_size(max_decoded_bytes);
    let lock = lock.max_decoding_message_size(max_decoded_bytes);
    let election = election.max_decoding_message_size(max_decoded_bytes);
    let maintenance = MaintenanceService::new(store.clone(), identity, membership);
    let newer_tokens = NewerTokens {
        access: access.clone(),
        store,
    };
    let routes = Routes::new(with_gzip!(kv))
        .add_service(WatchService::new(
            hub,
            access.clone(),
            top.clients().clone(),
        ))
        .add_service(with_gzip!(LeaseServer::new(lease)))
        .add_service(Gate {
            access: access.clone(),
            inner: with_gzip!(MaintenanceServer::new(maintenance)),
        })
        .add_service(Gate {
            access: access.clone(),
            inner: with_gzip!(ClusterServer::new(cluster)),
        })
        .add_service(Gate {
            access,
            inner: with_gzip!(OperatorServer::new(OperatorService { top })),
        })
        .add_service(with_gzip!(AuthServer::new(auth)))
        .add_service(with_gzip!(lock))
        .add_service(with_gzip!(election))
        .add_service(with_gzip!(health_service))
        .add_service(with_gzip!(reflection().build_v1().expect("a valid schema")))
        .add_service(with_gzip!(
            reflection().build_v1alpha().expect("a valid schema")
        ))
        .prepare()
        .into_axum_router();
    match newer_tokens.access.tokens {
        // They name no rules.
        Tokens::Simple(_) => routes,
        Tokens::Jwt(_) => routes.layer(from_fn_with_state(newer_tokens, catch_up)),
    }
}

/// Builds the service that tells clients the schema of all services.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(etcd_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}
