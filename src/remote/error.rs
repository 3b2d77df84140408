//! The errors of requests to another server.

use std::error::Error;

use dqlite::tls::TlsError;
use tonic::{Code, Status};

use super::EndpointUrl;

/// etcd's texts for a request without a user and for a wrong name or password, which have codes of all kinds.
const USER_REFUSED: [&str; 2] = ["user name is empty", "authentication failed"];

/// A part of etcd's texts for a request that may take effect later. Their code is Unavailable.
const TIMED_OUT: &str = "request timed out";

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
    #[error("{url} cannot serve the request: {reason}; look at its state, and try again")]
    Unavailable { url: EndpointUrl, reason: String },
    #[error("{url} did not finish in time: {reason}; what was asked for may have been done")]
    TimedOut { url: EndpointUrl, reason: String },
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
            _ if USER_REFUSED.iter().any(|text| reason.contains(text)) => {
                Self::Forbidden { url, reason }
            }
            Code::PermissionDenied | Code::Unauthenticated => Self::Forbidden { url, reason },
            _ if reason.contains(TIMED_OUT) => Self::TimedOut { url, reason },
            Code::DeadlineExceeded => Self::TimedOut { url, reason },
            Code::Unavailable => Self::Unavailable { url, reason },
            // The connection broke; an answer of the server has no cause.
            Code::Unknown if status.source().is_some() => Self::Unavailable { url, reason },
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

#[cfg(test)]
mod tests {
    use command_line::Exit;

    use super::*;

    #[test]
    fn what_failed_is_told_from_what_was_refused() {
        let url: EndpointUrl = "127.0.0.1:2379".parse().unwrap();
        for (code, text, exit) in [
            (Code::PermissionDenied, "etcdserver: permission denied", 3),
            (Code::InvalidArgument, "etcdserver: user name is empty", 3),
            (
                Code::InvalidArgument,
                "etcdserver: authentication failed, invalid user ID or password",
                3,
            ),
            (
                Code::InvalidArgument,
                "etcdserver: request is too large",
                12,
            ),
            (Code::Unavailable, "etcdserver: no leader", 13),
            (Code::Unavailable, "etcdserver: request timed out", 14),
            (
                Code::Unavailable,
                "etcdserver: request timed out, possibly due to connection lost",
                14,
            ),
            (Code::DeadlineExceeded, "context deadline exceeded", 14),
        ] {
            let error = RemoteError::of_call(&url, &Status::new(code, text));
            assert_eq!(Exit::from(&error) as u8, exit, "{error}");
        }
        let broken = Status::from_error("connection reset".into());
        let error = RemoteError::of_call(&url, &broken);
        assert_eq!(Exit::from(&error), Exit::Unreachable, "{error}");
    }
}
