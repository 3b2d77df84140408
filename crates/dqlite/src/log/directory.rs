//! The files of a directory: all reading that this module does.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{
    damage::Error,
    name::FileName,
    plan::FoundFile,
    report::Report,
    verify::{Files, verify},
};

/// Checks everything that the engine would load from a directory in which no engine runs. Nothing is
/// changed. Blocks for about a second per 2 GiB that are in the page cache, and otherwise for as long
/// as the disk takes.
///
/// # Errors
///
/// [`Error::Damaged`] where the engine would lose entries in silence, fail or abort;
/// [`Error::Unreadable`] where a file cannot be read, which says nothing about the data.
pub fn verify_directory(dir: &Path) -> Result<Report, Error> {
    verify(&Directory(dir))
}

/// The files of a directory.
pub struct Directory<'a>(pub &'a Path);

impl Directory<'_> {
    fn unreadable(&self, name: &str) -> impl Fn(io::Error) -> Error {
        let path = self.path(name);
        move |source| Error::Unreadable {
            path: path.clone(),
            source,
        }
    }
}

impl Files for Directory<'_> {
    fn list(&self) -> Result<Vec<FoundFile>, Error> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.0).map_err(self.unreadable(""))? {
            let entry = entry.map_err(self.unreadable(""))?;
            // All names of the engine are ASCII.
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if FileName::parse(&name) == FileName::Other {
                continue;
            }
            // Of what a link leads to, as the engine has it.
            let metadata = fs::metadata(entry.path()).map_err(self.unreadable(&name))?;
            files.push(FoundFile {
                name,
                len_bytes: metadata.len(),
                is_file: metadata.is_file(),
            });
        }
        Ok(files)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(File::open(self.0.join(name))?))
    }

    fn path(&self, name: &str) -> PathBuf {
        match name {
            "" => self.0.to_owned(),
            name => self.0.join(name),
        }
    }
}
