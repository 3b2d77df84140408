//! A backup that is read: all of it is checked before any of it is unpacked.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use flate2::bufread::MultiGzDecoder;
use openssl::sha::Sha256;

use super::{
    BackupError, Scratch,
    format::{FormatError, HEAD_BYTES, Head, TRAILER_BYTES, Trailer},
};

/// Bytes read at a time.
const CHUNK_BYTES: usize = 256 * 1024;

const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Returns whether the file is a gzip file of any kind.
pub fn is_compressed(file: &File) -> io::Result<bool> {
    let mut begin = [0; GZIP.len()];
    match file.read_exact_at(&mut begin, 0) {
        Ok(()) => Ok(begin == GZIP),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[derive(Debug)]
pub struct Backup {
    file: File,
    path: PathBuf,
    pub head: Head,
    pub trailer: Trailer,
    pub bytes: u64,
}

impl Backup {
    /// Reads the whole file.
    pub fn open(path: &Path) -> Result<Self, BackupError> {
        let unreadable = |source| BackupError::Unreadable {
            path: path.to_owned(),
            source,
        };
        Self::of_file(File::open(path).map_err(unreadable)?, path)
    }

    /// Reads all of an open file, which errors call `path`.
    pub fn of_file(file: File, path: &Path) -> Result<Self, BackupError> {
        let unreadable = |source| BackupError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let bytes = file.metadata().map_err(unreadable)?.len();
        let head = read_at::<HEAD_BYTES>(&file, 0).map_err(unreadable)?;
        let head = head.ok_or(FormatError::Foreign);
        let head = head.and_then(|head| Head::parse(&head));
        let head = head.map_err(|error| foreign(path, error))?;
        let trailer = match bytes.checked_sub(TRAILER_BYTES as u64) {
            Some(at) => read_at::<TRAILER_BYTES>(&file, at).map_err(unreadable)?,
            None => None,
        };
        let trailer = trailer.ok_or(FormatError::NoTrailer);
        let trailer = trailer.and_then(|trailer| Trailer::parse(&trailer));
        let trailer = trailer.map_err(|error| damaged(path, error.to_string()))?;
        if trailer.file_bytes.checked_add(TRAILER_BYTES as u64) != Some(bytes) {
            return Err(damaged(
                path,
                "its length is not the one that its end states".to_owned(),
            ));
        }
        let hash = digest(&file, trailer.file_bytes).map_err(unreadable)?;
        if !trailer.is_of(hash) {
            return Err(damaged(path, "its checksum is wrong".to_owned()));
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            head,
            trailer,
            bytes,
        })
    }

    /// The snapshot, in a file that nobody else sees.
    pub fn unpack(&self, scratch: &Scratch) -> Result<File, BackupError> {
        let (mut out, dir) = scratch.create().map_err(unwritable)?;
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                damaged(&self.path, "it cannot be unpacked".to_owned())
            }
            _ => unwritable((dir.to_owned(), source)),
        };
        let mut packed = &self.file;
        packed.seek(SeekFrom::Start(0)).map_err(failed)?;
        let packed = BufReader::with_capacity(CHUNK_BYTES, packed);
        let expected = self.trailer.snapshot_bytes;
        // One more than there should be: a file that says less than it has must not fill the disk.
        let mut unpacked = MultiGzDecoder::new(packed).take(expected.saturating_add(1));
        let count = io::copy(&mut unpacked, &mut out).map_err(failed)?;
        if count != expected {
            let reason = "its unpacked length is not the one that its end states";
            return Err(damaged(&self.path, reason.to_owned()));
        }
        Ok(out)
    }
}

fn read_at<const N: usize>(file: &File, offset: u64) -> io::Result<Option<[u8; N]>> {
    let mut bytes = [0; N];
    match file.read_exact_at(&mut bytes, offset) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

fn digest(file: &File, bytes: u64) -> io::Result<Sha256> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut at = 0;
    while at < bytes {
        let size = usize::try_from(bytes - at).map_or(CHUNK_BYTES, |rest| rest.min(CHUNK_BYTES));
        file.read_exact_at(&mut chunk[..size], at)?;
        hash.update(&chunk[..size]);
        at += size as u64;
    }
    Ok(hash)
}

fn foreign(path: &Path, error: FormatError) -> BackupError {
    BackupError::NoBackup {
        path: path.to_owned(),
        reason: match error {
            FormatError::Newer => "a newer k8s-dqlite wrote it: use that version",
            _ => "it does not begin like one; if it is a compressed snapshot, unpack it",
        },
    }
}

fn damaged(path: &Path, reason: String) -> BackupError {
    BackupError::Damaged {
        path: path.to_owned(),
        reason,
    }
}

fn unwritable((path, source): (PathBuf, io::Error)) -> BackupError {
    BackupError::Unwritable { path, source }
}

#[cfg(test)]
mod tests {
    use etcd_state::mvcc::Revision;
    use openssl::sha::sha256;
    use proptest::prelude::*;

    use super::*;
    use crate::backup::{BackupWriter, SnapshotInfo};

    fn backup(content: &[u8]) -> Vec<u8> {
        let mut writer = BackupWriter::begin(Vec::new(), Head { created_s: 7 }).unwrap();
        writer.write(content).unwrap();
        writer.write(&sha256(content)).unwrap();
        let info = SnapshotInfo {
            revision: Some(Revision::new(3)),
            ..SnapshotInfo::default()
        };
        writer.finish(info).unwrap().unwrap().0
    }

    #[derive(Debug, Clone)]
    enum Damage {
        Flip { at: usize, bit: u32 },
        Cut { at: usize },
        Insert { at: usize, byte: u8 },
        Remove { at: usize },
        Append { bytes: Vec<u8> },
        Swap { at: usize, with: usize },
    }

    fn damage() -> impl Strategy<Value = Damage> {
        let at = || any::<usize>();
        prop_oneof![
            (at(), 0..8_u32).prop_map(|(at, bit)| Damage::Flip { at, bit }),
            at().prop_map(|at| Damage::Cut { at }),
            (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Insert { at, byte }),
            at().prop_map(|at| Damage::Remove { at }),
            proptest::collection::vec(any::<u8>(), 1..300)
                .prop_map(|bytes| Damage::Append { bytes }),
            (at(), at()).prop_map(|(at, with)| Damage::Swap { at, with }),
        ]
    }

    fn inflict(damage: Damage, file: &mut Vec<u8>) {
        let length = file.len();
        match damage {
            Damage::Flip { at, bit } => file[at % length] ^= 1 << bit,
            Damage::Cut { at } => file.truncate(at % length),
            Damage::Insert { at, byte } => file.insert(at % length, byte),
            Damage::Remove { at } => drop(file.remove(at % length)),
            Damage::Append { bytes } => file.extend(bytes),
            Damage::Swap { at, with } => file.swap(at % length, with % length),
        }
    }

    proptest! {
        #[test]
        fn any_damage_is_noticed_before_anything_is_unpacked(
            content in proptest::collection::vec(any::<u8>(), 0..2000), damage in damage()
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("file");
            let whole = backup(&content);
            let mut file = whole.clone();
            inflict(damage, &mut file);
            std::fs::write(&path, &file).unwrap();
            let opened = Backup::open(&path);
            prop_assert_eq!(opened.is_ok(), file == whole);
        }
    }

    #[test]
    fn it_is_unpacked_into_a_file_without_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, backup(b"content")).unwrap();
        let backup = Backup::open(&path).unwrap();
        assert_eq!(backup.head.created_s, 7);
        assert_eq!(backup.trailer.info.revision, Some(Revision::new(3)));
        let scratch = Scratch::beside(&path, None);
        let file = backup.unpack(&scratch).unwrap();
        let mut found = vec![0; 7];
        file.read_exact_at(&mut found, 0).unwrap();
        assert_eq!(found, b"content");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn reasons_tell_what_kind_of_file_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let refused = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Backup::open(&path).unwrap_err().to_string()
        };
        let whole = backup(&[7; 9000]);
        assert!(refused(b"").contains("is no backup"));
        assert!(refused(b"\x1f\x8b something").contains("is no backup"));
        assert!(refused(&whole[..whole.len() / 2]).contains("cut off"));
        assert!(refused(&whole[..HEAD_BYTES]).contains("cut off"));
        let mut flipped = whole.clone();
        flipped[HEAD_BYTES + 30] ^= 1;
        assert!(refused(&flipped).contains("checksum is wrong"));
    }
}
