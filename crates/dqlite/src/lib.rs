//! The dqlite wire protocol, client and node.

pub mod node;
