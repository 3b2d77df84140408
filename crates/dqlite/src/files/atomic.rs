//! Small files that are there as a whole or not at all.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::Path,
};

use super::{FileError, durable};

/// The largest file that is read: some ten thousand members, where a cluster has a handful.
pub(crate) const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// They say who may speak for this node.
const MODE: u32 = 0o600;

/// Returns the text of a file; `None` if there is none.
pub(crate) fn read(path: &Path) -> Result<Option<String>, FileError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.map_err(FileError::io("open", path))?,
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(FileError::io("read", path))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(FileError::damaged(
            path,
            format!("has more than {FILE_BYTES_MAX} bytes"),
        ));
    }
    let text = String::from_utf8(bytes).map_err(|_| FileError::damaged(path, "is not text"))?;
    Ok(Some(text))
}

/// Replaces the file. Once this returns, it survives a power failure; one writer at a time.
pub(super) fn write(path: &Path, text: &str) -> Result<(), FileError> {
    let written = durable::replace(path, text.as_bytes(), MODE);
    written.map(drop).map_err(FileError::io("write", path))
}

/// Deletes the file if it is there.
pub(super) fn remove(path: &Path) -> Result<(), FileError> {
    let removed = durable::remove_if_there(path).and_then(|was_there| match was_there {
        true => durable::sync_dir(durable::parent(path)),
        false => Ok(()),
    });
    removed.map_err(FileError::io("remove", path))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn a_written_file_is_private_and_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("info.yaml");
        fs::write(dir.path().join("tmp-info.yaml.part"), "left by a crash").unwrap();
        for text in ["one", "two"] {
            write(&path, text).unwrap();
            assert_eq!(read(&path).unwrap().unwrap(), text);
        }
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_file_is_no_error_and_a_strange_one_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("info.yaml");
        assert!(read(&path).unwrap().is_none());
        remove(&path).unwrap();
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("is not text"));
        File::create(&path)
            .unwrap()
            .set_len(FILE_BYTES_MAX + 1)
            .unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("more than"));
        let missing = dir.path().join("missing/info.yaml");
        assert!(
            write(&missing, "")
                .unwrap_err()
                .to_string()
                .contains("missing")
        );
    }
}
