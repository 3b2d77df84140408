//! etcd's v3 API: messages and services, and with feature `client` the clients.
//!
//! The code in `gen` is made by `generate/` from `proto/`, which states etcd's wire contract.
#![forbid(unsafe_code)]

/// The schema of all of it, as an encoded `FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/descriptors.bin");

#[allow(clippy::all)]
#[rustfmt::skip]
pub mod authpb {
    include!("gen/authpb.rs");
}

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

#[allow(clippy::all)]
#[rustfmt::skip]
pub mod v3lockpb {
    include!("gen/v3lockpb.rs");
}

#[allow(clippy::all)]
#[rustfmt::skip]
pub mod v3electionpb {
    include!("gen/v3electionpb.rs");
}
