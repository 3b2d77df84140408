//! The objects in a directory and those below it, by their names.

use std::{
    fs::{self, DirEntry, FileType},
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt,
    path::{Path as FilePath, PathBuf},
};

use object_store::{ObjectMeta, path::Path};

use super::FileError;

/// Directories within each other. Names of objects have one slash.
const MAX_DEPTH: usize = 8;

/// Returns the objects below `prefix` whose names come after `after`, in the order of their names.
pub fn list(
    root: &FilePath,
    prefix: Option<&Path>,
    after: Option<&Path>,
) -> Result<Vec<ObjectMeta>, FileError> {
    // An empty archive has no such directory, but a place that is not there is no empty archive.
    fs::read_dir(root).map_err(|source| FileError {
        path: root.to_owned(),
        source,
    })?;
    let prefix = prefix.map(Path::as_ref).unwrap_or_default();
    let mut names = Vec::new();
    collect(root, prefix, MAX_DEPTH, &mut names)?;
    names.retain(|name| after.is_none_or(|after| name.as_str() > after.as_ref()));
    names.sort_unstable();
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let path = root.join(&name);
        found.extend(look_at(&path, &name).map_err(|source| FileError { path, source })?);
    }
    Ok(found)
}

fn collect(
    root: &FilePath,
    below: &str,
    depth: usize,
    names: &mut Vec<String>,
) -> Result<(), FileError> {
    let dir = match below {
        "" => root.to_owned(),
        below => root.join(below),
    };
    for entry in entries(&dir).map_err(|source| FileError { path: dir, source })? {
        let (name, kind) = entry;
        let name = match below {
            "" => name,
            below => format!("{below}/{name}"),
        };
        if kind.is_file() {
            names.push(name);
        } else if kind.is_dir() && depth > 0 {
            collect(root, &name, depth - 1, names)?;
        }
    }
    Ok(())
}

/// Returns what is in a directory, but for what is being written, and for what no object is named like.
fn entries(dir: &PathBuf) -> io::Result<Vec<(String, FileType)>> {
    let found = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        found => found?,
    };
    let described = |entry: io::Result<DirEntry>| {
        let entry = entry?;
        let name = entry.file_name().into_string();
        let name = name.ok().filter(|name| !name.starts_with('.'));
        name.map(|name| Ok((name, entry.file_type()?))).transpose()
    };
    found
        .filter_map(|entry| described(entry).transpose())
        .collect()
}

/// Returns none for a file that has gone meanwhile, and for a name that no object has.
fn look_at(path: &FilePath, name: &str) -> io::Result<Option<ObjectMeta>> {
    let Ok(location) = Path::parse(name) else {
        return Ok(None);
    };
    let meta = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    Ok(Some(ObjectMeta {
        location,
        last_modified: meta.modified()?.into(),
        size: meta.size(),
        e_tag: None,
        version: None,
    }))
}
