//! Files that hold secrets: keys, and credentials.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Bytes of such a file: 64 keys with comments, or a service account.
const MAX_BYTES: u64 = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} may be {by} others: take that away with chmod 600", path.display())]
    Exposed { path: PathBuf, by: &'static str },
    #[error("{}: {reason}", path.display())]
    Content { path: PathBuf, reason: String },
}

impl SecretFileError {
    /// Says what is wrong with the content, without showing any of it.
    pub(crate) fn content(path: &Path, reason: impl Into<String>) -> Self {
        Self::Content {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }
}

/// Reads a file which nobody but its owner may change, and nobody but its owner and its group may read.
pub(crate) fn read(path: &Path) -> Result<String, SecretFileError> {
    let unreadable = |source| SecretFileError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    if let Some(by) = exposure(mode) {
        let path = path.to_owned();
        return Err(SecretFileError::Exposed { path, by });
    }
    let mut text = String::new();
    match file.take(MAX_BYTES + 1).read_to_string(&mut text) {
        Ok(bytes) if bytes as u64 > MAX_BYTES => Err(SecretFileError::content(
            path,
            format!("it has more than {MAX_BYTES} bytes"),
        )),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            Err(SecretFileError::content(path, "it is no text"))
        }
        Err(error) => Err(unreadable(error)),
        Ok(_) => Ok(text),
    }
}

/// Returns what a file's mode lets others do that only its owner should.
fn exposure(mode: u32) -> Option<&'static str> {
    match mode {
        mode if mode & 0o022 != 0 => Some("changed by"),
        mode if mode & 0o004 != 0 => Some("read by"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_others_may_use_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, "hush").unwrap();
        for (mode, is_refused) in [
            (0o600, false),
            (0o440, false),
            (0o644, true),
            (0o660, true),
            (0o602, true),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            match (is_refused, read(&path)) {
                (true, Err(SecretFileError::Exposed { .. })) => {}
                (false, Ok(text)) => assert_eq!(text, "hush"),
                (_, other) => panic!("{mode:o}: {other:?}"),
            }
        }
        fs::write(&path, vec![b'x'; MAX_BYTES as usize + 1]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let error = read(&path).unwrap_err();
        assert!(error.to_string().ends_with("more than 65536 bytes"));
        let missing = read(&dir.path().join("none"));
        assert!(matches!(missing, Err(SecretFileError::Unreadable { .. })));
    }
}
