//! Compresses rows into a file.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use flate2::{Compression, write::GzEncoder};
use openssl::sha::Sha256;

use super::format::{END, FIRST_LINE, Header};

pub struct Writer {
    file: GzEncoder<File>,
    hash: Sha256,
    rows: u64,
}

impl Writer {
    /// Begins a file, in place of one that an attempt before has left. It holds secrets of the cluster.
    pub fn create(path: &Path, header: &Header) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(path)?;
        let mut writer = Self {
            // Level 1 keeps up with the engine.
            file: GzEncoder::new(file, Compression::fast()),
            hash: Sha256::new(),
            rows: 0,
        };
        let mut line = serde_json::to_vec(header).map_err(io::Error::other)?;
        line.push(b'\n');
        writer.put(FIRST_LINE)?;
        writer.put(&line)?;
        Ok(writer)
    }

    pub fn write(&mut self, encoded: &[u8], rows: u64) -> io::Result<()> {
        self.rows += rows;
        self.put(encoded)
    }

    /// Ends the file and syncs it. Returns the number of rows, and the hash.
    pub fn finish(mut self) -> io::Result<(u64, String)> {
        self.put(&[END])?;
        let rows = self.rows;
        self.put(&rows.to_le_bytes())?;
        let hash = std::mem::take(&mut self.hash).finish();
        self.file.write_all(&hash)?;
        self.file.finish()?.sync_all()?;
        Ok((rows, hex::encode(hash)))
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.file.write_all(bytes)
    }
}
