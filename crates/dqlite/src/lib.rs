//! The dqlite wire protocol, client and node.

pub mod client;
pub mod files;
pub mod node;
pub mod wire;
