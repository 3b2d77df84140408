use std::{
    io,
    path::{Path, PathBuf},
};

use crate::store::OpenError;

#[derive(Debug, thiserror::Error)]
pub enum ConversionError {
    #[error(
        "{} has {free_bytes} bytes free, {needed_bytes} are needed: make room, or say with --take-over-backup \
         where the backup goes; nothing was changed", dir.display()
    )]
    NoSpace {
        dir: PathBuf,
        free_bytes: u64,
        needed_bytes: u64,
    },
    #[error("{}: {source}; nothing was changed", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(
        "{} exists already: move it away, or name another file with --take-over-backup; nothing was changed", .0.display()
    )]
    Exists(PathBuf),
    #[error("the backup {} could not be verified: {reason}; nothing was changed", path.display())]
    Unverified { path: PathBuf, reason: String },
    #[error("{}: {reason}", path.display())]
    NoBackup { path: PathBuf, reason: String },
    #[error("table kine has rows that no k8s-dqlite wrote: {0}; nothing was changed")]
    Rows(String),
}

impl From<ConversionError> for OpenError {
    fn from(error: ConversionError) -> Self {
        Self::Conversion(Box::new(error))
    }
}

impl ConversionError {
    pub fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }

    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::NoSpace { .. } => true,
            Self::File { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            _ => false,
        }
    }
}
