//! etcd's v3 API: messages and services, and with feature `client` the clients.
//!
//! The code in `gen` is made by `generate/` from `proto/`, which states etcd's wire contract.

#[allow(clippy::all)]
#[rustfmt::skip]
pub mod mvccpb {
    include!("gen/mvccpb.rs");
}

#[allow(clippy::all)]
#[rustfmt::skip]
pub mod etcdserverpb {
    include!("gen/etcdserverpb.rs");
}
