//! The etcd v3 API: gRPC services on the store. The only place that knows gRPC status.

mod cluster;
mod corked;
mod counted;
mod downgrade;
mod gateway;
mod hash;
mod header;
mod http;
mod kv;
mod lease;
mod listener;
mod maintenance;
mod serve;
mod status;
mod stopping;
mod watch;

pub use cluster::ClusterService;
pub use corked::Corked;
use counted::Counted;
pub use header::Identity;
pub use kv::KvService;
pub use lease::LeaseService;
pub use listener::{
    Connection, Incoming, ListenError, Listener, MAX_CONNECTIONS, Peer, PeerAddress,
};
pub use maintenance::{ETCD_VERSION, MaintenanceService, STORAGE_VERSION};
pub use serve::{Services, serve, serve_metrics};
pub use stopping::Stopping;
pub use watch::WatchService;
