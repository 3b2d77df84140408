//! The dqlite wire protocol, client and node.

pub mod client;
pub mod node;
pub mod wire;
