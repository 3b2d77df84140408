//! The snapshot's file: its checksum, and its bytes.

use std::{
    fs::File,
    io::{self, Read, Seek},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use bbolt::Source;
use openssl::sha::Sha256;

use super::RestoreError;
use crate::backup::{Backup, Scratch, Trailer, is_compressed};

/// Bytes of the checksum at the end.
const CHECKSUM_BYTES: u64 = 32;

/// Pages are multiples of this; a file that has the checksum's length more has one.
const SECTOR_BYTES: u64 = 512;

/// Bytes read at a time to compute the checksum.
const CHUNK_BYTES: usize = 1024 * 1024;

#[derive(Debug)]
pub struct SnapshotSource {
    file: File,
    path: PathBuf,
    bytes: u64,
    /// The time and the trailer of the backup, if the snapshot was in one.
    backup: Option<(u64, Trailer)>,
}

impl SnapshotSource {
    /// Takes a backup that is open already. Errors call it `name`.
    pub fn of_backup(file: File, name: &Path, scratch: &Scratch) -> Result<Self, RestoreError> {
        let backup = Backup::of_file(file, name)?;
        Self::unpacked(backup.unpack(scratch)?, name, false, Some(&backup))
    }

    /// Opens a snapshot, unpacked if it is in a backup, and checks its checksum. `skip_check`
    /// leaves the check out for a bare snapshot.
    pub fn open(path: &Path, skip_check: bool, scratch: &Scratch) -> Result<Self, RestoreError> {
        let unreadable = |source| RestoreError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(unreadable)?;
        let mut backup = None;
        if is_compressed(&file).map_err(unreadable)? {
            let found = Backup::open(path)?;
            file = found.unpack(scratch)?;
            backup = Some(found);
        }
        let skip_check = skip_check && backup.is_none();
        Self::unpacked(file, path, skip_check, backup.as_ref())
    }

    fn unpacked(
        mut file: File,
        path: &Path,
        skip_check: bool,
        backup: Option<&Backup>,
    ) -> Result<Self, RestoreError> {
        let unreadable = |source| RestoreError::Unreadable {
            path: path.to_owned(),
            source,
        };
        file.rewind().map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let has_checksum = length % SECTOR_BYTES == CHECKSUM_BYTES;
        let bytes = length - if has_checksum { CHECKSUM_BYTES } else { 0 };
        if !skip_check {
            if !has_checksum {
                return Err(RestoreError::NoChecksum(path.to_owned()));
            }
            if !is_checksum_right(&mut file, bytes).map_err(unreadable)? {
                return Err(RestoreError::WrongChecksum(path.to_owned()));
            }
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            bytes,
            backup: backup.map(|found| (found.head.created_s, found.trailer)),
        })
    }

    pub fn backup(&self) -> Option<(u64, Trailer)> {
        self.backup
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn is_checksum_right(file: &mut File, bytes: u64) -> io::Result<bool> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut rest = file.take(bytes);
    loop {
        match rest.read(&mut chunk)? {
            0 => break,
            count => hash.update(&chunk[..count]),
        }
    }
    let mut expected = [0; CHECKSUM_BYTES as usize];
    file.read_exact(&mut expected)?;
    Ok(hash.finish() == expected)
}

impl Source for SnapshotSource {
    type Error = io::Error;

    fn len(&self) -> u64 {
        self.bytes
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}
