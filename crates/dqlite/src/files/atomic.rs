//! Small files that are there as a whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::FileError;

/// The largest file that is read: some ten thousand members, where a cluster has a handful.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The engine deletes what begins like this when a node is created (dqlite: src/raft/uv.c), and
/// with it what a crash of ours leaves.
const TEMPORARY_PREFIX: &str = "tmp-";

pub(super) fn read(path: &Path) -> Result<Option<String>, FileError> {
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

/// Replace the file. Once this returns, it survives a power failure; one writer at a time.
pub(super) fn write(path: &Path, text: &str) -> Result<(), FileError> {
    let name = path
        .file_name()
        .expect("a path with a file name")
        .to_string_lossy();
    let temporary = path.with_file_name(format!("{TEMPORARY_PREFIX}{name}"));
    // A leftover may have other permissions.
    remove(&temporary)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(FileError::io("create", &temporary))?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    written.map_err(FileError::io("write", &temporary))?;
    fs::rename(&temporary, path).map_err(FileError::io("replace", path))?;
    sync_directory_of(path)
}

/// Delete the file if it is there.
pub(super) fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => {
            removed.map_err(FileError::io("remove", path))?;
            sync_directory_of(path)
        }
    }
}

fn sync_directory_of(path: &Path) -> Result<(), FileError> {
    let dir = path.parent().expect("a file in a directory");
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(FileError::io("write", dir))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_written_file_is_private_and_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("info.yaml");
        fs::write(dir.path().join("tmp-info.yaml"), "left by a crash").unwrap();
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
