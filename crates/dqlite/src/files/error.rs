//! The errors of a node's files, and what to do about them.

use std::{
    io,
    path::{Path, PathBuf},
};

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },

    #[error("{} is damaged: {reason}; restore it from a backup", path.display())]
    Damaged { path: PathBuf, reason: String },

    #[error(
        "this node was set up with the address {found} (info.yaml), and cannot change it to {wanted} like this: write it as it is \
         there, or change it with update.yaml; only where other nodes have the data may this one be removed from the cluster \
         and join again with an empty directory"
    )]
    AddressChanged { found: String, wanted: String },

    #[error("a new node needs an address that other nodes can reach")]
    AddressMissing,

    #[error("{address:?} is not an address")]
    AddressInvalid { address: String },

    #[error("this node has not joined its cluster yet, and needs the address of a member for that")]
    ClusterMissing,

    #[error(
        "{} has both the id that begins a cluster (info.yaml) and the file join: remove \
         join if this is the first node, or start the joining node with an empty directory",
        dir.display()
    )]
    FirstNodeJoins { dir: PathBuf },

    #[error(
        "{} has data of a node but no info.yaml, and cluster.yaml does not tell its id: write \
         info.yaml with the lines \"ID: <id>\", \"Address: <address>\" and \"Role: 0\" as in the \
         cluster's list of members",
        dir.display()
    )]
    IdLost { dir: PathBuf },

    /// Without its log, it could vote twice in one election.
    #[error(
        "the node in {} lost its data, while its cluster may still count on it: restore the directory; where other nodes have \
         the data, remove the node from the cluster and join again with an empty one",
        dir.display()
    )]
    DataLost { dir: PathBuf },

    #[error(
        "{} has a cluster.yaml but neither info.yaml nor data: restore its content, or start with \
         an empty directory",
        dir.display()
    )]
    OnlyCluster { dir: PathBuf },
}

impl FileError {
    pub(crate) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
