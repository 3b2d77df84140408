//! The etcd v3 API: gRPC services on the store. The only place that knows gRPC status.

mod header;

pub use header::Identity;
