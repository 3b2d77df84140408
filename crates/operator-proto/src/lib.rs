//! The messages of an operator's program to a server, on the port of clients, beside etcd's API.
//!
//! The code in `gen` is made by `crates/etcd-proto/generate` from `proto/operator.proto`.
#![forbid(unsafe_code)]

#[allow(clippy::all)]
#[rustfmt::skip]
mod generated {
    include!("gen/k8sdqlite.operator.v1.rs");
}

pub use generated::*;
