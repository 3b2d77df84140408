//! The k8s-dqlite server: the etcd v3 API on dqlite.

pub mod api;
pub mod args;
pub mod backup;
pub mod compact;
pub mod config;
pub mod migrate;
pub mod node;
pub mod observe;
pub mod ops;
pub mod peer;
pub mod recover;
pub mod remote;
pub mod restore;
pub mod roll_back;
pub mod server;
pub mod snap;
pub mod status;
pub mod store;
pub mod tls;
pub mod watch;
