//! `cluster-id.yaml`: which history the directory belongs to.

use std::path::Path;

use serde::Deserialize;

use super::{FileError, atomic, without_mark};

pub const CLUSTER_ID_FILE: &str = "cluster-id.yaml";

/// The id of a history, and of the one that it was split off from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct HistoryId {
    /// Never 0.
    #[serde(rename = "ID")]
    pub id: u64,
    /// The id that the database still has after a recovery, 0 if it is not known which. None in a directory that
    /// was not recovered.
    #[serde(rename = "Former", default)]
    pub former: Option<u64>,
}

/// Returns the id of the history; `None` in a directory of an older version, or of a node that has not joined yet.
pub fn read_cluster_id(dir: &Path) -> Result<Option<HistoryId>, FileError> {
    let path = dir.join(CLUSTER_ID_FILE);
    let Some(text) = atomic::read(&path)? else {
        return Ok(None);
    };
    let read: HistoryId = serde_yaml::from_str(without_mark(&text))
        .map_err(|error| FileError::damaged(&path, error.to_string()))?;
    match read.id {
        0 => Err(FileError::damaged(&path, "ID is 0")),
        _ => Ok(Some(read)),
    }
}

pub fn write_cluster_id(dir: &Path, history: HistoryId) -> Result<(), FileError> {
    let mut text = format!("ID: {}\n", history.id);
    if let Some(former) = history.former {
        text.push_str(&format!("Former: {former}\n"));
    }
    atomic::write(&dir.join(CLUSTER_ID_FILE), &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_cluster_id(dir.path()).unwrap(), None);
        for former in [None, Some(0), Some(u64::MAX)] {
            let id = u64::MAX - 1;
            let history = HistoryId { id, former };
            write_cluster_id(dir.path(), history).unwrap();
            assert_eq!(read_cluster_id(dir.path()).unwrap(), Some(history));
        }
    }

    #[test]
    fn a_file_without_an_id_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "ID: 0\n", "ID: x\n", "Former: 3\n"] {
            std::fs::write(dir.path().join(CLUSTER_ID_FILE), text).unwrap();
            assert!(read_cluster_id(dir.path()).is_err(), "{text:?}");
        }
    }
}
