//! The Go program's files: `N.key` and `N.data` for each entry, N from 0 on without a gap.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::MigrateError;

/// The modes with which the Go program makes them.
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o640;

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    pub fn create(path: &Path) -> Result<Self, MigrateError> {
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(DIR_MODE).create(path);
        let dir = Self::open(path);
        made.map_err(|source| MigrateError::Unwritable {
            path: path.to_owned(),
            source,
        })?;
        Ok(dir)
    }

    pub fn open(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    pub fn write(&self, index: u64, key: &[u8], value: &[u8]) -> Result<(), MigrateError> {
        self.write_file(&self.key(index), key)?;
        self.write_file(&self.data(index), value)
    }

    /// Returns the pair of this number; none after the last one.
    pub fn read(&self, index: u64) -> Result<Option<Pair>, MigrateError> {
        let unreadable = |path: PathBuf| move |source| MigrateError::Unreadable { path, source };
        let path = self.key(index);
        let key = match fs::read(&path) {
            Ok(key) => key,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(path)(error)),
        };
        let path = self.data(index);
        let value = fs::read(&path).map_err(unreadable(path))?;
        Ok(Some((key, value)))
    }

    /// Deletes what a longer dump has left from `index` on: a restore would take it for the rest of this one.
    pub fn end_at(&self, mut index: u64) -> Result<(), MigrateError> {
        loop {
            let path = self.key(index);
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(source) => return Err(MigrateError::Unwritable { path, source }),
            }
            // Without its key nobody reads it.
            let _ = fs::remove_file(self.data(index));
            index += 1;
        }
    }

    fn write_file(&self, path: &Path, content: &[u8]) -> Result<(), MigrateError> {
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE);
        let written = options
            .open(path)
            .and_then(|mut file| file.write_all(content));
        written.map_err(|source| MigrateError::Unwritable {
            path: path.to_owned(),
            source,
        })
    }

    fn key(&self, index: u64) -> PathBuf {
        self.path.join(format!("{index}.key"))
    }

    fn data(&self, index: u64) -> PathBuf {
        self.path.join(format!("{index}.data"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_written_and_an_older_tail_goes() {
        let root = tempfile::tempdir().unwrap();
        let dir = Directory::create(&root.path().join("a/b")).unwrap();
        for index in 0..5 {
            dir.write(index, b"old", b"old").unwrap();
        }
        dir.write(0, b"/a", b"1").unwrap();
        dir.write(1, b"/b", b"").unwrap();
        dir.end_at(2).unwrap();
        assert_eq!(dir.read(0).unwrap(), Some((b"/a".to_vec(), b"1".to_vec())));
        assert_eq!(dir.read(1).unwrap(), Some((b"/b".to_vec(), b"".to_vec())));
        assert_eq!(dir.read(2).unwrap(), None);
        assert_eq!(fs::read_dir(&dir.path).unwrap().count(), 4);
        fs::remove_file(dir.data(1)).unwrap();
        assert!(matches!(dir.read(1), Err(MigrateError::Unreadable { .. })));
    }
}
