//! Knows the Raft term of a node that runs, without reading its files each time.
//!
//! The engine stores a term before it acts in it: it opens one of two files, writes, waits for the disk and closes the
//! file (dqlite: src/raft/uv_metadata.c, `uvMetadataStore`). [`super::file_calls`] tells of each such file that is opened
//! and closed. So a term that was read since then is the newest in which the engine can have acted.
//!
//! The files are read each time where those calls are not seen.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::state::stored_term;
use crate::log::METADATA_NAMES;

/// The number of calls of all engines of this process that may have changed a term; 0 where none is seen.
static CHANGES: AtomicU64 = AtomicU64::new(0);

/// Descriptors of files with a term that are open: at most one for each engine.
static OPEN: Mutex<Vec<i32>> = Mutex::new(Vec::new());

/// The term of the node on a directory.
#[derive(Debug)]
pub struct StoredTerm {
    dir: PathBuf,
    known: Mutex<Option<Known>>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    term: u64,
    /// The number of changes before the term was read.
    changes: u64,
}

impl StoredTerm {
    /// Builds it for a directory on which a node runs, or will.
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            known: Mutex::new(None),
        }
    }

    /// Returns the term, as [`stored_term`] reads it.
    pub fn get(&self) -> io::Result<u64> {
        // Before the files are read: what changes meanwhile is read again.
        let changes = CHANGES.load(Ordering::SeqCst);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = *known
            && known.changes == changes
            && changes > 0
        {
            return Ok(known.term);
        }
        let term = stored_term(&self.dir)?;
        *known = Some(Known { term, changes });
        Ok(term)
    }
}

fn is_of_term(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| METADATA_NAMES.contains(&name))
}

fn note_change() {
    CHANGES.fetch_add(1, Ordering::SeqCst);
}

/// The engine has opened a file. It opens what there is when it starts, so that a change is seen before the first one.
pub(super) fn opened(path: &Path, file: i32) {
    if is_of_term(path) {
        OPEN.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(file);
        note_change();
    }
}

/// The engine is about to close a file.
pub(super) fn closing(file: i32) {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(at) = open.iter().position(|it| *it == file) {
        open.swap_remove(at);
        note_change();
    }
}

/// The engine has removed a file, or given one this name.
pub(super) fn replaced(path: &Path) {
    if is_of_term(path) {
        note_change();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_term_is_read_again_once_the_engine_has_stored_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metadata1");
        let write = |version: u64, term: u64| {
            let bytes: Vec<u8> = [1, version, term, 0]
                .iter()
                .flat_map(|word: &u64| word.to_le_bytes())
                .collect();
            fs::write(&path, bytes).unwrap();
        };
        let stored = StoredTerm::new(dir.path().to_owned());
        assert_eq!(stored.get().unwrap(), 0);
        // No descriptor of another test has this number.
        let file = i32::MAX;
        opened(&path, file);
        assert_eq!(stored.get().unwrap(), 0);
        write(1, 3);
        closing(file);
        assert_eq!(stored.get().unwrap(), 3);
        write(2, 4);
        replaced(&path);
        assert_eq!(stored.get().unwrap(), 4);
    }
}
