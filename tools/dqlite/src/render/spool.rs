//! Keeps a result until it is complete: in memory while it is small, then in a file without a name.
//!
//! A result is shown after its transaction has ended, so a reader that is slow, or a person who reads page
//! by page, never holds one open on the server; and a result that breaks off is not shown at all.

use std::io::{self, Read, Seek, Write};

use tempfile::SpooledTempFile;

/// The most bytes of a result that are kept in memory.
const MEMORY_BYTES: usize = 8 << 20;

/// The largest result, in bytes: beyond this nobody reads it, and a temporary directory may be small.
const MAX_BYTES: u64 = 4 << 30;

const CHUNK_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub struct Spool {
    file: SpooledTempFile,
    len: u64,
}

impl Default for Spool {
    fn default() -> Self {
        Self::new()
    }
}

impl Spool {
    pub fn new() -> Self {
        Spool {
            file: SpooledTempFile::new(MEMORY_BYTES),
            len: 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Everything written, in chunks.
    pub fn read(&mut self, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        self.file.rewind()?;
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            match self.file.read(&mut buffer)? {
                0 => return Ok(()),
                read => take(&buffer[..read])?,
            }
        }
    }

    /// Everything written, which is text, in chunks of whole characters.
    pub fn read_text(&mut self, mut take: impl FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        let mut pending = Vec::with_capacity(CHUNK_BYTES + 4);
        self.read(|bytes| {
            pending.extend_from_slice(bytes);
            let whole = match str::from_utf8(&pending) {
                Ok(text) => text.len(),
                Err(error) => error.valid_up_to(),
            };
            take(str::from_utf8(&pending[..whole]).map_err(io::Error::other)?)?;
            pending.drain(..whole);
            Ok(())
        })
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.len + bytes.len() as u64 > MAX_BYTES {
            let limit = MAX_BYTES >> 30;
            let error = format!("the result is larger than {limit} GiB: use LIMIT");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, error));
        }
        let written = self.file.write(bytes)?;
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_not_cut_at_the_end_of_a_chunk() {
        let text = "xé".repeat(CHUNK_BYTES);
        let mut spool = Spool::new();
        spool.write_all(text.as_bytes()).unwrap();
        let mut read = String::new();
        spool
            .read_text(|part| {
                read.push_str(part);
                Ok(())
            })
            .unwrap();
        assert!(read == text);
    }

    #[test]
    fn a_large_result_leaves_memory() {
        let mut spool = Spool::new();
        spool.write_all(&vec![b'x'; MEMORY_BYTES + 1]).unwrap();
        assert!(spool.file.is_rolled());
        assert_eq!(spool.len, MEMORY_BYTES as u64 + 1);
    }
}
