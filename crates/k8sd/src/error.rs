//! The errors of the daemon, by what the caller can do about them.

use std::{io, path::PathBuf};

use dqlite::node::NodeError;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is wrong; the same one fails again.
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    NotFound(String),
    /// The state does not allow it now.
    #[error("{0}")]
    Conflict(String),
    /// Try again later.
    #[error("{0}")]
    Unavailable(String),
    /// Another daemon has the state directory.
    #[error("{0}")]
    Held(String),
    /// The daemon cannot listen on its address.
    #[error("{0}")]
    Listen(String),
    /// There was no answer in time: what was asked for may have been done.
    #[error("{0}")]
    Late(String),
    /// Nothing listens on the control socket.
    #[error("{0}")]
    NoDaemon(String),
    #[error("{0}")]
    Internal(String),
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    /// A file is not what it should be.
    #[error("{path}: {reason}")]
    Damaged { path: PathBuf, reason: String },
    /// The server's text and the status that it answered with.
    #[error("{message}")]
    Refused { status: u16, message: String },
    #[error(transparent)]
    Client(#[from] dqlite::client::Error),
    #[error(transparent)]
    Cluster(#[from] dqlite::cluster::ClusterError),
    #[error(transparent)]
    Node(NodeError),
    /// The database of this member is not to be started from. The advice is not that of the server's directory.
    #[error(
        "the database in {} is damaged: {reason}; where other members have the data, remove this one there \
         (k8sd remove NAME --force), empty its state directory and let it join again by a token; otherwise bring the \
         state directory back from a copy", dir.display()
    )]
    DamagedDatabase { dir: PathBuf, reason: String },
    #[error(transparent)]
    NodeFile(#[from] dqlite::files::FileError),
    #[error(transparent)]
    Tls(#[from] dqlite::tls::TlsError),
    #[error("OpenSSL: {0}")]
    OpenSsl(#[from] openssl::error::ErrorStack),
}

impl From<NodeError> for Error {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Damaged { dir, reason } => Self::DamagedDatabase { dir, reason },
            error => Self::Node(error),
        }
    }
}

impl Error {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    /// The status that an answer has.
    pub fn status(&self) -> u16 {
        match self {
            Self::Invalid(_) => 400,
            Self::Forbidden(_) => 403,
            Self::NotFound(_) => 404,
            Self::Conflict(_) | Self::Held(_) => 409,
            Self::Unavailable(_) | Self::Listen(_) | Self::NoDaemon(_) => 503,
            Self::Late(_) => 504,
            Self::Refused { status, .. } => *status,
            _ => 500,
        }
    }
}
