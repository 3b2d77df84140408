//! The faults on the way to a server and back.

use std::{error::Error, sync::Arc};

use object_store::client::{HttpError, HttpErrorKind};

#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("cannot connect to {host}: {reason}")]
    Connect { host: Arc<str>, reason: String },
    #[error("no TLS with {host}: {reason}")]
    Tls { host: Arc<str>, reason: String },
    #[error("{host} is named without TLS")]
    Plain { host: Arc<str> },
    #[error("{host} was silent for {seconds} s")]
    Silent { host: Arc<str>, seconds: u64 },
    #[error("the connection to {host} broke: {reason}")]
    Broken { host: Arc<str>, reason: String },
}

impl Fault {
    pub fn host(&self) -> &str {
        match self {
            Self::Connect { host, .. }
            | Self::Tls { host, .. }
            | Self::Plain { host }
            | Self::Silent { host, .. }
            | Self::Broken { host, .. } => host,
        }
    }
}

/// The kind says whether the crate repeats the request.
impl From<Fault> for HttpError {
    fn from(fault: Fault) -> Self {
        let kind = match &fault {
            Fault::Connect { .. } => HttpErrorKind::Connect,
            // A certificate does not become another one within seconds.
            Fault::Tls { .. } | Fault::Plain { .. } => HttpErrorKind::Unknown,
            Fault::Silent { .. } => HttpErrorKind::Timeout,
            // An object that is created twice is the same, or the second time it is refused.
            Fault::Broken { .. } => HttpErrorKind::Request,
        };
        Self::new(kind, fault)
    }
}

/// Returns the error of this type among an error and its causes.
pub fn within<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // An error of input or output does not show what it was made of as its cause.
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(|error| error.get_ref());
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// Returns what the last of the causes says.
pub fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
