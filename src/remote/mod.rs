//! Connections to another server as its client: an etcd, a k8s-dqlite, or the Go k8s-dqlite.
//!
//! Invariant: if the endpoint is with TLS, nothing is sent before TLS has checked the server.

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
