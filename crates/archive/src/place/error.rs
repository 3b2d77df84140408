//! The errors of a place, by what an operator can do.

use std::{error::Error, io::ErrorKind};

use http::StatusCode;

use super::{
    directory::FileError,
    http::{Fault, Refusal, TlsFault, innermost, within},
    url::UrlError,
};
use crate::{encryption::EncryptionError, secret_file::SecretFileError};

/// Characters of a cause that is not known.
const MAX_SHOWN: usize = 300;

/// Codes with status 403 or 400 that mean the credentials, not what they may do.
const WRONG_CREDENTIALS: [&str; 9] = [
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "InvalidSecurity",
    "TokenRefreshRequired",
    "AuthenticationFailed",
    "InvalidAuthenticationInfo",
    "UnauthorizedAccess",
];

/// The code of a request whose time is not the server's.
const WRONG_TIME: &str = "RequestTimeTooSkewed";

/// The code of S3 for requests that are signed for another region.
const WRONG_REGION: [&str; 4] = [
    "AuthorizationHeaderMalformed",
    "PermanentRedirect",
    "TemporaryRedirect",
    "IllegalLocationConstraintException",
];

/// Parts of codes of a server that has no more room, or a bucket that may not be larger.
const FULL: [&str; 3] = ["QuotaExceeded", "StorageFull", "InsufficientStorage"];

#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("the URL of the archive cannot be used: {0}")]
    Url(#[from] UrlError),
    #[error("the credentials cannot be used: {0}")]
    CredentialsFile(#[from] SecretFileError),
    #[error("the keys cannot be used: {0}")]
    KeyFile(SecretFileError),
    #[error("the authorities cannot be used: {0}")]
    Authorities(#[from] TlsFault),
    #[error("{place}: the credentials are missing or wrong: {reason}")]
    Credentials { place: String, reason: String },
    #[error("{place}: that is not allowed: {reason}")]
    Forbidden { place: String, reason: String },
    #[error("{place} is not there, and has to be made first: {reason}")]
    NoPlace { place: String, reason: String },
    #[error("{place} cannot be reached: {reason}")]
    Unreachable { place: String, reason: String },
    #[error("{place} did not answer: {reason}; what was asked for may have been done")]
    TimedOut { place: String, reason: String },
    #[error("{place} cannot serve the request now: {reason}")]
    Unavailable { place: String, reason: String },
    #[error("{place} refuses: {reason}")]
    Refused { place: String, reason: String },
    #[error("{place} is full: {reason}")]
    Full { place: String, reason: String },
    #[error("{place} has an object {name} with another content")]
    Exists { place: String, name: String },
    #[error("{place} has no object {name}")]
    Missing { place: String, name: String },
    #[error("{place}: of {name}, {found} bytes came instead of {bytes}")]
    CutShort {
        place: String,
        name: String,
        found: u64,
        bytes: u64,
    },
    #[error(
        "{place}: {name} has {bytes} bytes, more than the {limit} that such an object may have"
    )]
    TooLarge {
        place: String,
        name: String,
        bytes: u64,
        limit: u64,
    },
    #[error(
        "{place} writes over an object although it was told not to (If-None-Match), so two nodes could destroy each other's archive: \
         use a server, or a version of it, that obeys"
    )]
    NotExclusive { place: String },
    #[error("{place}: {name} cannot be opened: {reason}")]
    Sealed {
        place: String,
        name: String,
        reason: String,
    },
    #[error("{place}: {reason}")]
    Failed { place: String, reason: String },
}

impl PlaceError {
    /// Returns whether the same request may succeed later without anybody doing anything.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::TimedOut { .. }
                | Self::Unavailable { .. }
                | Self::CutShort { .. }
        )
    }

    /// Names an error of the crate. `host` is that of the service; requests to others are for credentials.
    pub fn of(place: &str, host: Option<&str>, name: &str, error: &object_store::Error) -> Self {
        let place = place.to_owned();
        if let Some(fault) = within::<Fault>(error) {
            return of_fault(place, host, fault);
        }
        if let Some(refusal) = within::<Refusal>(error) {
            return of_refusal(place, host, refusal);
        }
        if let Some(error) = within::<FileError>(error) {
            return of_file(place, error);
        }
        let name = name.to_owned();
        if let Some(error) = within::<EncryptionError>(error) {
            let reason = error.to_string();
            return Self::Sealed {
                place,
                name,
                reason,
            };
        }
        match error {
            object_store::Error::NotFound { .. } => Self::Missing { place, name },
            object_store::Error::AlreadyExists { .. }
            | object_store::Error::Precondition { .. } => Self::Exists { place, name },
            error => Self::Failed {
                place,
                reason: shown(error),
            },
        }
    }
}

fn shown(error: &(dyn Error + 'static)) -> String {
    // What is around it repeats the request, with its URL.
    innermost(error).chars().take(MAX_SHOWN).collect()
}

fn is_for_credentials(service: Option<&str>, host: &str) -> bool {
    service.is_some_and(|service| {
        let rest = host.strip_suffix(service);
        !rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

fn of_fault(place: String, service: Option<&str>, fault: &Fault) -> PlaceError {
    let reason = fault.to_string();
    if is_for_credentials(service, fault.host()) {
        return PlaceError::Credentials { place, reason };
    }
    match fault {
        Fault::Connect { .. } | Fault::Tls { .. } | Fault::Plain { .. } | Fault::Broken { .. } => {
            PlaceError::Unreachable { place, reason }
        }
        Fault::Silent { .. } => PlaceError::TimedOut { place, reason },
    }
}

fn of_refusal(place: String, service: Option<&str>, refusal: &Refusal) -> PlaceError {
    let mut reason = refusal.to_string();
    let code = &*refusal.code;
    if code == WRONG_TIME {
        reason.push_str("; set the clock of this machine");
    }
    if WRONG_REGION.contains(&code) {
        reason.push_str("; name the region of the bucket in the URL, ?region=");
        return PlaceError::Refused { place, reason };
    }
    let is_wrong = refusal.status == StatusCode::UNAUTHORIZED
        || code == WRONG_TIME
        || WRONG_CREDENTIALS.contains(&code);
    if is_wrong || is_for_credentials(service, &refusal.host) {
        return PlaceError::Credentials { place, reason };
    }
    match refusal.status {
        _ if refusal.is_of_place() => PlaceError::NoPlace { place, reason },
        StatusCode::INSUFFICIENT_STORAGE => PlaceError::Full { place, reason },
        _ if FULL.iter().any(|part| code.contains(part)) => PlaceError::Full { place, reason },
        StatusCode::FORBIDDEN => PlaceError::Forbidden { place, reason },
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            PlaceError::Unavailable { place, reason }
        }
        StatusCode::NOT_IMPLEMENTED => PlaceError::Refused { place, reason },
        status if status.is_server_error() => PlaceError::Unavailable { place, reason },
        _ => PlaceError::Refused { place, reason },
    }
}

fn of_file(place: String, error: &FileError) -> PlaceError {
    let reason = error.to_string();
    match error.source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            PlaceError::Full { place, reason }
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            PlaceError::Forbidden { place, reason }
        }
        ErrorKind::NotFound | ErrorKind::NotADirectory => PlaceError::NoPlace { place, reason },
        ErrorKind::UnexpectedEof => PlaceError::Failed { place, reason },
        ErrorKind::TimedOut | ErrorKind::StaleNetworkFileHandle => {
            PlaceError::Unavailable { place, reason }
        }
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
            PlaceError::Unreachable { place, reason }
        }
        _ => PlaceError::Failed { place, reason },
    }
}

#[cfg(test)]
mod tests {
    use std::{io, path::PathBuf};

    use object_store::client::{HttpError, HttpErrorKind};

    use super::*;

    const SERVICE: Option<&str> = Some("s3.example");

    fn of(error: impl Error + Send + Sync + 'static) -> PlaceError {
        let source = HttpError::new(HttpErrorKind::Unknown, error);
        let error = object_store::Error::Generic {
            store: "S3",
            source: Box::new(source),
        };
        PlaceError::of("s3://b", SERVICE, "delta/1", &error)
    }

    fn refusal(host: &str, status: u16, code: &str) -> PlaceError {
        of(Refusal {
            host: host.to_owned(),
            status: StatusCode::from_u16(status).unwrap(),
            code: code.to_owned(),
            message: String::new(),
        })
    }

    #[test]
    fn a_refusal_is_named_by_what_can_be_done() {
        use PlaceError as E;
        let at = |status, code| refusal("s3.example", status, code);
        assert!(matches!(at(403, "AccessDenied"), E::Forbidden { .. }));
        assert!(matches!(
            at(403, "InvalidAccessKeyId"),
            E::Credentials { .. }
        ));
        assert!(matches!(
            at(403, "RequestTimeTooSkewed"),
            E::Credentials { .. }
        ));
        assert!(matches!(at(401, ""), E::Credentials { .. }));
        assert!(matches!(at(404, "NoSuchBucket"), E::NoPlace { .. }));
        assert!(matches!(at(507, "XMinioStorageFull"), E::Full { .. }));
        assert!(matches!(at(403, "QuotaExceeded"), E::Full { .. }));
        assert!(matches!(at(503, "SlowDown"), E::Unavailable { .. }));
        assert!(matches!(at(429, ""), E::Unavailable { .. }));
        assert!(matches!(at(301, "PermanentRedirect"), E::Refused { .. }));
        assert!(matches!(at(501, "NotImplemented"), E::Refused { .. }));
        assert!(matches!(
            refusal("b.s3.example", 503, ""),
            E::Unavailable { .. }
        ));
        assert!(matches!(
            refusal("sts.example", 503, ""),
            E::Credentials { .. }
        ));
        assert!(matches!(
            refusal("xs3.example", 503, ""),
            E::Credentials { .. }
        ));
    }

    #[test]
    fn a_fault_is_named_by_where_it_was() {
        use PlaceError as E;
        let silent = |host: &str| Fault::Silent {
            host: host.into(),
            seconds: 1,
        };
        assert!(matches!(of(silent("s3.example")), E::TimedOut { .. }));
        assert!(matches!(
            of(silent("169.254.169.254")),
            E::Credentials { .. }
        ));
        let file = |kind: ErrorKind| {
            of(FileError {
                path: PathBuf::from("/a"),
                source: io::Error::from(kind),
            })
        };
        assert!(matches!(file(ErrorKind::StorageFull), E::Full { .. }));
        assert!(matches!(file(ErrorKind::NotFound), E::NoPlace { .. }));
        assert!(matches!(
            file(ErrorKind::PermissionDenied),
            E::Forbidden { .. }
        ));
        assert!(file(ErrorKind::StaleNetworkFileHandle).is_passing());
        assert!(!file(ErrorKind::StorageFull).is_passing());
    }
}
