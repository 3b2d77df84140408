//! Reads the small files that people write or name.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// A file of this size was not written for us; a real one has some hundred bytes, or a few thousand.
pub(super) const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Returns the content of a file. Fails if there is more than 1 MiB of it.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let file = File::open(path)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content)?;
    if content.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other("it has more than 1 MiB"));
    }
    Ok(content)
}
