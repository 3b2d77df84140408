//! Changes of files that survive a power failure.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

/// The engine deletes what begins like this when a node is created (dqlite: src/raft/uv.c), and
/// with it what a crash of ours leaves.
pub const TEMPORARY_PREFIX: &str = "tmp-";

/// Keeps a leftover from what looks for files by their ending.
const TEMPORARY_SUFFIX: &str = ".part";

/// Replaces a file in one step by one with this content and mode, and returns it. Its owner stays where this process may
/// give files away, as root may. Once this returns, it survives a power failure. One writer at a time.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<File> {
    let temporary = temporary(path);
    // A leftover may have other permissions.
    remove_if_there(&temporary)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)?;
    keep_owner(path, &file)?;
    // The mask of the process, or the change of the owner, may have taken bits away.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_dir(parent(path))?;
    Ok(file)
}

/// Gives a new file to the owner of the one that it is to replace, if it can.
fn keep_owner(path: &Path, file: &File) -> io::Result<()> {
    let former = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (former.uid(), former.gid()) {
        // Others than root may not; then the file is this user's, as what it replaces as a whole always was.
        let _ = fchown(file, Some(former.uid()), Some(former.gid()));
    }
    Ok(())
}

fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{TEMPORARY_PREFIX}{name}{TEMPORARY_SUFFIX}"))
}

/// Deletes a file, and returns whether there was one. It may come back until its directory is on the disk.
pub fn remove_if_there(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        removed => removed.map(|()| true),
    }
}

/// Makes what was created, renamed and deleted in a directory last.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Returns the directory of a file.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        Some(_) => Path::new("."),
        None => Path::new("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("info.yaml");
        fs::write(temporary(&path), "left by a crash").unwrap();
        for (text, mode) in [("one", 0o600), ("two", 0o644)] {
            replace(&path, text.as_bytes(), mode).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            let found = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(found & 0o7777, mode);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(remove_if_there(&path).unwrap());
        assert!(!remove_if_there(&path).unwrap());
    }

    /// As root the file gets another owner first; as somebody else it has its own.
    #[test]
    fn a_file_keeps_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("info.yaml");
        fs::write(&path, "one").unwrap();
        let _ = std::os::unix::fs::chown(&path, Some(1234), Some(1235));
        let owner = |path: &Path| fs::metadata(path).map(|it| (it.uid(), it.gid())).unwrap();
        let before = owner(&path);
        replace(&path, b"two", 0o640).unwrap();
        assert_eq!(owner(&path), before);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
    }

    #[test]
    fn every_file_has_a_directory() {
        for (path, dir) in [("/a/b", "/a"), ("/a", "/"), ("a", "."), ("a/b", "a")] {
            assert_eq!(parent(Path::new(path)), Path::new(dir));
        }
    }
}
