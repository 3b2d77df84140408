//! Another server, as its clients see it: an etcd, a k8s-dqlite, or the Go k8s-dqlite.
//!
//! Invariant: nothing is sent before TLS has checked who answers, where the endpoint is with TLS.

mod endpoint;
mod error;
mod link;
mod tls;

pub use self::{
    endpoint::EndpointUrl,
    error::RemoteError,
    link::{Login, MAX_MESSAGE_BYTES, Remote, Token},
    tls::{RemoteTls, TlsFiles},
};
