//! One listener for all services: gRPC, and the HTTP endpoints beside it.

use std::{sync::Arc, time::Duration};

use etcd_proto::etcdserverpb::{
    auth_server::AuthServer, cluster_server::ClusterServer, kv_server::KvServer,
    lease_server::LeaseServer, maintenance_server::MaintenanceServer,
};
use tokio_stream::StreamExt;
use tonic::{
    service::Routes,
    transport::{Error, Server},
};

use super::{
    ClusterService, Corked, Identity, KvService, LeaseService, Listener, MaintenanceService,
    Stopping, WatchService,
    access::Access,
    auth::AuthService,
    gate::Gate,
    http::{Front, http_routes},
};
use crate::{
    auth::{AuthOptions, Tokens},
    compact::ClientCompactions,
    store::Store,
    watch::WatchHub,
};

/// The largest message that is decoded, in bytes. Above etcd's limit, so that what is too large for
/// etcd is refused in its words; a larger one ends in tonic's.
const MAX_DECODED_BYTES: usize = 16 * 1024 * 1024;

/// Bytes that a connection, and each call on it, may have under way to the server: enough for the
/// largest request without a pause.
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// How often a client is asked whether it is there, and how long it may take to say so: etcd's
/// `--grpc-keepalive-interval` and `--grpc-keepalive-timeout`. How often clients ask is their affair.
const PING_INTERVAL: Duration = Duration::from_secs(2 * 3600);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// What the API is made of.
pub struct Services {
    pub store: Store,
    pub identity: Arc<Identity>,
    pub hub: Arc<WatchHub>,
    pub compactions: Arc<ClientCompactions>,
    pub stopping: Stopping,
    /// Where clients reach this node.
    pub client_url: String,
    /// Where other nodes reach it.
    pub peer_address: String,
    pub peer_url: String,
    pub auth: AuthOptions,
}

/// Serves until `stop` is ready and all calls ended.
pub async fn serve(
    services: Services,
    listener: Listener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let http = http_routes(services.store.clone());
    let grpc = grpc_routes(services).await;
    let connections = listener
        .incoming()
        .map(|accepted| accepted.map(Corked::new));
    Server::builder()
        .accept_http1(true)
        // etcd has no limit either: an apiserver opens hundreds of watches on a connection.
        .max_concurrent_streams(u32::MAX)
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .initial_connection_window_size(WINDOW_BYTES)
        .initial_stream_window_size(WINDOW_BYTES)
        .serve_with_incoming_shutdown(Front { grpc, http }, connections, stop)
        .await
}

async fn grpc_routes(services: Services) -> axum::Router {
    let Services {
        store,
        identity,
        hub,
        compactions,
        stopping,
        client_url,
        peer_address,
        peer_url,
        auth,
    } = services;
    let access = Arc::new(Access {
        rules: store.rules().clone(),
        tokens: Tokens::new(auth.token_ttl),
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
    let kv = KvService {
        store: store.clone(),
        identity: identity.clone(),
        compactions,
        access: access.clone(),
    };
    let lease = LeaseService {
        store: store.clone(),
        identity: identity.clone(),
        stopping,
        access: access.clone(),
    };
    let cluster = ClusterService {
        store: store.clone(),
        identity: identity.clone(),
        name: peer_address.clone(),
        client_url,
        peer_url,
    };
    Routes::new(KvServer::new(kv).max_decoding_message_size(MAX_DECODED_BYTES))
        .add_service(WatchService::new(hub, access.clone()))
        .add_service(LeaseServer::new(lease))
        .add_service(Gate {
            access: access.clone(),
            inner: MaintenanceServer::new(MaintenanceService::new(store, identity)),
        })
        .add_service(Gate {
            access,
            inner: ClusterServer::new(cluster),
        })
        .add_service(AuthServer::new(auth))
        .add_service(health_service)
        .prepare()
        .into_axum_router()
}
