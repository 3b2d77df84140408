//! From a URL to a place.

use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt, path::Path, sync::Arc};

use object_store::{ObjectStore, local::LocalFileSystem};

const DIRECTORY: &str = "file://";

/// The reason why there is no place at a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenPlaceError {
    #[error("{0} names no place of an archive: write file:///DIRECTORY")]
    Url(String),
    #[error("the directory {0} cannot be used: {1}")]
    Directory(String, String),
}

/// Opens a place, which is made if it is a directory that is not there.
pub fn open(url: &str) -> Result<Arc<dyn ObjectStore>, OpenPlaceError> {
    let path = url.strip_prefix(DIRECTORY).map(Path::new);
    let path = path.filter(|path| path.is_absolute());
    let path = path.ok_or_else(|| OpenPlaceError::Url(url.to_owned()))?;
    let unusable = |reason: String| OpenPlaceError::Directory(path.display().to_string(), reason);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| unusable(error.to_string()))?;
    let store = LocalFileSystem::new_with_prefix(path);
    let store = store.map_err(|error| unusable(error.to_string()))?;
    Ok(Arc::new(store.with_fsync(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_made_and_other_urls_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        assert!(open(&format!("file://{}", path.display())).is_ok());
        assert!(path.is_dir());
        for url in ["", "archive", "file://archive", "ftp://a/b"] {
            assert_eq!(open(url).err(), Some(OpenPlaceError::Url(url.to_owned())));
        }
    }
}
