//! The k8s-dqlite server: the etcd v3 API on dqlite.

pub mod address;
pub mod api;
pub mod archive;
pub mod args;
pub mod backup;
pub mod cluster;
pub mod commands;
pub mod compact;
pub mod config;
pub mod exit;
pub mod monitoring;
pub mod process;
pub mod remote;
pub mod server;
pub mod store;
pub mod tls;
pub mod top;
pub mod watch;
