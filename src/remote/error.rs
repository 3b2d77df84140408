//! The errors of requests to another server.

use std::error::Error;

use dqlite::tls::TlsError;
use tonic::{Code, Status};

use super::EndpointUrl;

#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error("cannot use the files for TLS with {url}: {source}")]
    Tls { url: EndpointUrl, source: TlsError },
    #[error("{0} is without TLS: {1}; write https:// or unixs://")]
    NotWithTls(EndpointUrl, &'static str),
    #[error("cannot connect to {url}: {reason}")]
    Unreachable { url: EndpointUrl, reason: String },
    #[error("{url} refuses: {reason}")]
    Refused { url: EndpointUrl, reason: String },
    #[error("{url} refuses this user: {reason}; name another one with --user and --cert")]
    Forbidden { url: EndpointUrl, reason: String },
    #[error("{url} did not answer for {seconds} s")]
    Silent { url: EndpointUrl, seconds: u64 },
}

impl RemoteError {
    /// Returns the error for a call that failed.
    pub fn of_call(url: &EndpointUrl, status: &Status) -> Self {
        let reason = match status.message() {
            "" => innermost(status),
            message => message.to_owned(),
        };
        let url = url.clone();
        match status.code() {
            Code::PermissionDenied | Code::Unauthenticated => Self::Forbidden { url, reason },
            _ => Self::Refused { url, reason },
        }
    }
}

/// The cause: what is around it says "transport error".
pub(super) fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
