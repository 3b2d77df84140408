//! What the engine would find in a directory, judged by file names alone.

use std::{fs, io, path::Path};

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
    let (mut metadata, mut data) = (false, false);
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        metadata |= name == "metadata1" || name == "metadata2";
        data |=
            name.starts_with("snapshot-") || name.starts_with("open-") || is_closed_segment(name);
    }
    Ok(match (metadata, data) {
        (true, _) => EngineState::Present,
        (false, true) => EngineState::WithoutMetadata,
        (false, false) => EngineState::Empty,
    })
}

/// `0000000000000001-0000000000000042`: first and last index.
fn is_closed_segment(name: &str) -> bool {
    let is_index = |text: &str| text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit());
    name.split_once('-')
        .is_some_and(|(first, last)| is_index(first) && is_index(last))
}

#[cfg(test)]
mod tests {
    use super::*;

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
