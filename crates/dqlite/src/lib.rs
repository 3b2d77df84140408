//! The dqlite wire protocol, client and node.
