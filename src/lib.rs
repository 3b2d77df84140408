//! The k8s-dqlite server: the etcd v3 API on dqlite.

pub mod api;
pub mod compact;
pub mod lease;
pub mod mvcc;
pub mod server;
pub mod store;
pub mod watch;
