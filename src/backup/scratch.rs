//! The file into which a snapshot is unpacked. It has no name, and is gone when nobody has it open.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process,
};

/// Directories, in order of preference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scratch(pub Vec<PathBuf>);

impl Scratch {
    /// Prefers the directory of the file, unless another was chosen: the system's directory for such files may be in
    /// memory.
    pub fn beside(file: &Path, chosen: Option<&Path>) -> Self {
        let beside = match file.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        match chosen {
            Some(chosen) => Self(vec![chosen.to_owned()]),
            None => Self(vec![beside, std::env::temp_dir()]),
        }
    }

    /// Creates the file. Returns its directory, too.
    pub fn create(&self) -> Result<(File, &Path), (PathBuf, io::Error)> {
        let mut failed = None;
        for dir in &self.0 {
            match create_in(dir) {
                Ok(file) => return Ok((file, dir)),
                Err(error) => failed = Some((dir.clone(), error)),
            }
        }
        Err(failed.unwrap_or_else(|| (PathBuf::new(), io::ErrorKind::NotFound.into())))
    }
}

fn create_in(dir: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    let nameless = options.clone().custom_flags(libc::O_TMPFILE).open(dir);
    match nameless {
        // Not every file system has them.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            let path = dir.join(format!(".k8s-dqlite-unpacked-{}", process::id()));
            let file = options.create_new(true).open(&path)?;
            fs::remove_file(&path)?;
            Ok(file)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_leaves_nothing_and_takes_the_next_directory() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch(vec![dir.path().join("not there"), dir.path().to_owned()]);
        let (_file, found) = scratch.create().unwrap();
        assert_eq!(found, dir.path());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(
            Scratch(vec![dir.path().join("not there")])
                .create()
                .is_err()
        );
    }
}
