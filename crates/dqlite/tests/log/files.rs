//! A directory in memory, to be changed at will.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use dqlite::{
    log::{Error, Files, FoundFile, Report, verify},
    node::{LastEntry, describe_last_entry},
};

#[derive(Clone, Default)]
pub struct Memory(pub BTreeMap<String, Arc<Vec<u8>>>);

impl Memory {
    /// The files of the engine, without those that it makes for itself while it runs.
    pub fn of(dir: &Path) -> Self {
        let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
        let files = entries.filter_map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            let is_lock = name.contains("lock");
            (!is_lock).then(|| (name, Arc::new(fs::read(entry.path()).unwrap())))
        });
        Self(files.collect())
    }

    pub fn with(&self, name: &str, bytes: Vec<u8>) -> Self {
        let mut files = self.clone();
        files.0.insert(name.to_owned(), Arc::new(bytes));
        files
    }

    pub fn without(&self, name: &str) -> Self {
        let mut files = self.clone();
        files.0.remove(name);
        files
    }

    pub fn verify(&self) -> Result<Report, Error> {
        verify(self)
    }

    /// Returns the last entry that the engine finds in these files.
    pub fn engine_says(&self) -> LastEntry {
        // In memory where there is such a place: the engine syncs all that it does.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let dir = dir.unwrap();
        for (name, bytes) in &self.0 {
            let path = dir.path().join(name);
            fs::write(&path, &bytes[..content_len(bytes)]).unwrap();
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_len(bytes.len() as u64).unwrap();
        }
        describe_last_entry(dir.path()).unwrap()
    }
}

/// Returns the length without the zeros at the end. An open segment ends with up to 8 MiB of them.
pub fn content_len(bytes: &[u8]) -> usize {
    let zeros = [0; 4096];
    let mut chunks = bytes.rchunks(zeros.len());
    let Some(at) = chunks.position(|chunk| *chunk != zeros[..chunk.len()]) else {
        return 0;
    };
    let len = bytes.len() - at * zeros.len();
    let last = bytes[..len].iter().rposition(|byte| *byte != 0);
    last.map_or(0, |at| at + 1)
}

pub fn last_entry(report: &Report) -> LastEntry {
    LastEntry {
        term: report.last_term,
        index: report.last_index,
    }
}

impl Files for Memory {
    fn list(&self) -> Result<Vec<FoundFile>, Error> {
        let found = |(name, bytes): (&String, &Arc<Vec<u8>>)| FoundFile {
            name: name.clone(),
            len_bytes: bytes.len() as u64,
            is_file: true,
        };
        Ok(self.0.iter().map(found).collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + '_>> {
        let bytes = self.0.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(&bytes[..]))
    }

    fn path(&self, name: &str) -> PathBuf {
        name.into()
    }
}
