//! The dqlite wire protocol, client and node.

pub mod client;
pub mod cluster;
pub mod cluster_id;
pub mod files;
#[cfg(feature = "guard")]
pub mod guard;
pub mod linkage;
pub mod log;
pub mod node;
pub mod proxy;
pub mod roles;
mod socket;
pub mod sql;
pub mod tls;
pub mod wire;
