//! The messages of the nodes of a cluster to each other on the dqlite port, beside dqlite's own
//! protocol.
//!
//! The code in `gen` is made by `crates/etcd-proto/generate` from `proto/peer.proto`.
#![forbid(unsafe_code)]

#[allow(clippy::all)]
#[rustfmt::skip]
mod generated {
    include!("gen/k8sdqlite.peer.v1.rs");
}

pub use generated::*;
