//! The etcd v3 API: gRPC services on the store. The only place that knows gRPC status.

mod access;
mod auth;
mod cluster;
mod compression;
mod concurrency;
mod corked;
mod counted;
mod downgrade;
mod election;
mod gate;
mod gateway;
mod hash;
mod header;
mod http;
mod kv;
mod leadership;
mod lease;
mod listener;
mod lock;
mod maintenance;
mod serve;
mod snapshot;
mod status;
mod stopping;
mod watch;

pub use cluster::ClusterService;
pub use corked::Corked;
use counted::Counted;
pub use gateway::Translator;
pub use header::Identity;
pub use http::{Served, Sources};
pub use kv::KvService;
pub use lease::LeaseService;
pub use listener::{
    Connection, Incoming, ListenError, Listener, MAX_CONNECTIONS, Peer, PeerAddress,
};
pub use maintenance::{ETCD_VERSION, MaintenanceService, STORAGE_VERSION};
pub use serve::{Services, serve, serve_http, serve_metrics};
pub use stopping::Stopping;
pub use watch::WatchService;
