//! Sizes, free space and dates, read from files and the file system.

use std::path::{Path, PathBuf};

use dqlite::{
    node::engine_bytes,
    tls::{Pair, Tls},
};
use nix::sys::statvfs::statvfs;

/// The files to read, and the pair in use.
#[derive(Debug, Clone)]
pub struct FilePaths {
    pub storage_dir: PathBuf,
    /// The pair that nodes show each other: that of the connections, whatever the files have become since.
    pub node_tls: Option<Tls>,
    /// Certificate and key that are shown to clients.
    pub client_pair: Option<(PathBuf, PathBuf)>,
}

/// The values of one moment; none for those that cannot be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileStats {
    /// The bytes that unprivileged processes may still write.
    pub disk_free_bytes: Option<u64>,
    pub disk_bytes: Option<u64>,
    pub log_bytes: u64,
    pub snapshot_bytes: u64,
    /// The end of the certificate, in seconds since 1970.
    pub node_certificate_expires_s: Option<i64>,
    pub client_certificate_expires_s: Option<i64>,
}

impl FileStats {
    /// Reads the values. Blocks while it reads some files.
    pub fn read(paths: &FilePaths) -> Self {
        let disk = statvfs(&paths.storage_dir).ok();
        let bytes = |blocks: u64, size: u64| blocks.saturating_mul(size);
        let (log_bytes, snapshot_bytes) = engine_bytes(&paths.storage_dir).unwrap_or_default();
        Self {
            disk_free_bytes: disk.map(|d| bytes(d.blocks_available(), d.fragment_size())),
            disk_bytes: disk.map(|d| bytes(d.blocks(), d.fragment_size())),
            log_bytes,
            snapshot_bytes,
            node_certificate_expires_s: paths.node_tls.as_ref().and_then(Tls::shown_ends_s),
            client_certificate_expires_s: paths.client_pair.as_ref().and_then(expires_s),
        }
    }
}

fn expires_s((certificate, key): &(PathBuf, PathBuf)) -> Option<i64> {
    let load = |certificate: &Path, key: &Path| Pair::load(certificate, key).ok();
    load(certificate, key)?.expires_s().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_an_engine_has_a_disk_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let paths = FilePaths {
            storage_dir: dir.path().to_owned(),
            node_tls: None,
            client_pair: Some((dir.path().join("no.crt"), dir.path().join("no.key"))),
        };
        let file_stats = FileStats::read(&paths);
        assert!(
            file_stats.disk_free_bytes <= file_stats.disk_bytes && file_stats.disk_bytes > Some(0)
        );
        let expected = FileStats {
            disk_free_bytes: file_stats.disk_free_bytes,
            disk_bytes: file_stats.disk_bytes,
            ..FileStats::default()
        };
        assert_eq!(file_stats, expected);
    }
}
