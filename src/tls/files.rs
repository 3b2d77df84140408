//! The TLS files, and the marks by which their changes are noticed.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use dqlite::tls::TlsError;

/// Bytes of a file that are read: a bundle of all public authorities has a quarter of this.
const MAX_FILE_BYTES: u64 = 1 << 20;

#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// PEM: the server's certificate, then its chain if it has one.
    pub certificate: PathBuf,
    /// PEM, not encrypted.
    pub key: PathBuf,
    /// PEM: clients need a certificate of one of these authorities.
    pub trusted: Option<PathBuf>,
    /// PEM or DER: the certificates that are refused.
    pub revoked: Option<PathBuf>,
}

/// Marks of a file that change with its content, or when another file takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: (u64, u64),
    size_bytes: u64,
    modified_s_ns: (i64, i64),
    changed_s_ns: (i64, i64),
}

impl TlsFiles {
    /// Returns the stamps of the files; none for a file that cannot be read.
    pub(super) fn stamps(&self) -> Vec<Option<Stamp>> {
        let optional = [&self.trusted, &self.revoked].into_iter().flatten();
        [&self.certificate, &self.key]
            .into_iter()
            .chain(optional)
            .map(|path| stamp(path))
            .collect()
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some(Stamp {
        inode: (metadata.dev(), metadata.ino()),
        size_bytes: metadata.len(),
        modified_s_ns: (metadata.mtime(), metadata.mtime_nsec()),
        changed_s_ns: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |source| TlsError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes);
    if read.map_err(unreadable)? as u64 > MAX_FILE_BYTES {
        return Err(unreadable(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(bytes)
}
