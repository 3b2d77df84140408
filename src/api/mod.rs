//! The etcd v3 API: gRPC services on the store. The only place that knows gRPC status.

mod header;
mod kv;
mod lease;
mod maintenance;
mod status;
mod stopping;
mod watch;

pub use header::Identity;
pub use kv::KvService;
pub use lease::LeaseService;
pub use maintenance::{ClusterService, ETCD_VERSION, MaintenanceService};
pub use stopping::Stopping;
pub use watch::WatchService;
