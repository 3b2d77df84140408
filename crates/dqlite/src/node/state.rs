//! The state in which the engine would find a directory, judged by file names alone.

use std::{fs, io, path::Path};

use crate::{
    files::{remove_if_there, sync_dir},
    log::METADATA_NAMES as METADATA,
};

/// Names as in dqlite: src/raft/uv.h, uv_metadata.c, uv_segment.c and uv_snapshot.c.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineState {
    /// No node ever ran here; one with a bootstrap id would begin a new cluster.
    Empty,
    /// A node ran here.
    Present,
    /// There is a log but no term: the engine would begin anew and mix up two histories.
    WithoutMetadata,
}

pub fn engine_state(dir: &Path) -> io::Result<EngineState> {
    Ok(match found(dir)? {
        (true, _) => EngineState::Present,
        (false, true) => EngineState::WithoutMetadata,
        (false, false) => EngineState::Empty,
    })
}

/// Returns whether there are files with the term, and whether there are files of the log.
fn found(dir: &Path) -> io::Result<(bool, bool)> {
    let (mut metadata, mut data) = (false, false);
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        metadata |= METADATA.contains(&name);
        data |=
            name.starts_with("snapshot-") || name.starts_with("open-") || is_closed_segment(name);
    }
    Ok((metadata, data))
}

/// Deletes a term without a log, which an interrupted bootstrap leaves after its first step. The engine would begin no
/// cluster beside it (dqlite: src/raft/uv.c, `uvBootstrap`).
pub(super) fn undo_half_a_bootstrap(dir: &Path) -> io::Result<()> {
    if found(dir)? != (true, false) {
        return Ok(());
    }
    for name in METADATA {
        remove_if_there(&dir.join(name))?;
    }
    sync_dir(dir)
}

/// `0000000000000001-0000000000000042`: first and last index.
fn is_closed_segment(name: &str) -> bool {
    let is_index = |text: &str| text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit());
    name.split_once('-')
        .is_some_and(|(first, last)| is_index(first) && is_index(last))
}

/// The Raft term of the node, as its engine stores it before it acts in it; 0 if none ran here.
pub fn stored_term(dir: &Path) -> io::Result<u64> {
    let mut newest = (0, 0);
    for name in METADATA {
        let bytes = match fs::read(dir.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        newest = newest.max(term_of(&bytes).unwrap_or_default());
    }
    Ok(newest.1)
}

/// Version and term of a metadata file: four little-endian words, format, version, term and vote
/// (dqlite: src/raft/uv_metadata.c). The file that was written last has the higher version; a torn one
/// is too short.
fn term_of(bytes: &[u8]) -> Option<(u64, u64)> {
    const FORMAT: u64 = 1;
    let bytes: &[u8; 32] = bytes.try_into().ok()?;
    let word = |index: usize| {
        let word = bytes[8 * index..][..8].try_into();
        u64::from_le_bytes(word.expect("8 bytes"))
    };
    (word(0) == FORMAT).then(|| (word(1), word(2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_term_is_that_of_the_newer_whole_file() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(stored_term(dir.path()).unwrap(), 0);
        let write = |name: &str, words: &[u64]| {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            fs::write(dir.path().join(name), bytes).unwrap();
        };
        write("metadata1", &[1, 5, 3, 0]);
        write("metadata2", &[1, 4, 9, 0]);
        assert_eq!(stored_term(dir.path()).unwrap(), 3);
        write("metadata2", &[1, 6, 9]);
        assert_eq!(stored_term(dir.path()).unwrap(), 3);
        write("metadata2", &[1, 6, 9, 0]);
        assert_eq!(stored_term(dir.path()).unwrap(), 9);
    }

    #[test]
    fn only_a_term_without_a_log_is_half_a_bootstrap() {
        let dir = tempfile::tempdir().unwrap();
        let touch = |name: &str| fs::write(dir.path().join(name), "").unwrap();
        touch("info.yaml");
        touch("metadata2");
        touch("metadata1");
        undo_half_a_bootstrap(dir.path()).unwrap();
        assert_eq!(engine_state(dir.path()).unwrap(), EngineState::Empty);
        touch("metadata1");
        touch("open-1");
        undo_half_a_bootstrap(dir.path()).unwrap();
        assert_eq!(engine_state(dir.path()).unwrap(), EngineState::Present);
    }

    #[test]
    fn state_follows_from_the_files_of_the_engine_only() {
        let dir = tempfile::tempdir().unwrap();
        let touch = |name: &str| fs::write(dir.path().join(name), "").unwrap();
        touch("info.yaml");
        touch("dqlite-lock");
        touch("cluster.crt");
        touch("0001-0002");
        assert_eq!(engine_state(dir.path()).unwrap(), EngineState::Empty);
        touch("0000000000000001-0000000000000042");
        assert_eq!(
            engine_state(dir.path()).unwrap(),
            EngineState::WithoutMetadata
        );
        touch("metadata2");
        assert_eq!(engine_state(dir.path()).unwrap(), EngineState::Present);
    }
}
