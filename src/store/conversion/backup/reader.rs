//! Reads a backup, and checks all of it on the way.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use flate2::bufread::MultiGzDecoder;
use openssl::sha::Sha256;

use super::format::{FIRST_LINE, HASH_BYTES, Header, MAX_HEADER_BYTES, decode, number};
use crate::store::conversion::{ConversionError, table::StoredRow};

/// Bytes that are read from the disk at a time, and decompressed at a time.
const BUFFER_BYTES: usize = 256 * 1024;

pub struct Reader {
    from: BufReader<Hashing>,
    path: PathBuf,
    header: Header,
    rows: u64,
    sha256: Option<String>,
}

impl Reader {
    pub fn open(path: &Path) -> Result<Self, ConversionError> {
        let file = File::open(path).map_err(ConversionError::file(path))?;
        let unpacked = MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, file));
        let mut from = Hashing::new(unpacked);
        let header = read_header(&mut from).map_err(|error| ConversionError::NoBackup {
            path: path.to_owned(),
            reason: format!("it is not a backup of a Go k8s-dqlite's tables: {error}"),
        })?;
        Ok(Self {
            from: BufReader::with_capacity(BUFFER_BYTES, from),
            path: path.to_owned(),
            header,
            rows: 0,
            sha256: None,
        })
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    pub fn user_version(&self) -> i64 {
        self.header.user_version
    }

    pub fn sequence(&self) -> i64 {
        self.header.sequence
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Returns the hash, which is known after the last row.
    pub fn sha256(&self) -> Option<&str> {
        self.sha256.as_deref()
    }

    /// The next row. There is none after the last only if number and checksum of all of them are right.
    pub fn next_row(&mut self) -> Result<Option<StoredRow>, ConversionError> {
        let read = self.read();
        read.map_err(|error| ConversionError::NoBackup {
            path: self.path.clone(),
            reason: match error.kind() {
                io::ErrorKind::UnexpectedEof => "it is cut off".to_owned(),
                _ => format!("it is damaged: {error}"),
            },
        })
    }

    fn read(&mut self) -> io::Result<Option<StoredRow>> {
        if self.sha256.is_some() {
            return Ok(None);
        }
        if let Some(row) = decode(&mut self.from)? {
            self.rows += 1;
            return Ok(Some(row));
        }
        let rows = number(&mut self.from)?;
        let mut expected = [0; HASH_BYTES];
        self.from.read_exact(&mut expected)?;
        if self.from.read(&mut [0])? != 0 {
            return Err(io::Error::other("it has more bytes after its end"));
        }
        let found = self.from.get_mut().finish();
        if rows.cast_unsigned() != self.rows || found != expected {
            return Err(io::Error::other("its checksum is wrong"));
        }
        self.sha256 = Some(hex::encode(found));
        Ok(None)
    }
}

fn read_header(from: &mut Hashing) -> io::Result<Header> {
    let mut first = [0; FIRST_LINE.len()];
    from.read_exact(&mut first)?;
    if first != FIRST_LINE {
        return Err(io::Error::other("it begins differently"));
    }
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        from.read_exact(&mut byte)?;
        match byte[0] {
            b'\n' => return serde_json::from_slice(&line).map_err(io::Error::other),
            _ if line.len() == MAX_HEADER_BYTES => return Err(io::ErrorKind::InvalidData.into()),
            byte => line.push(byte),
        }
    }
}

/// Hashes all that passes but the hash at the end.
struct Hashing {
    from: MultiGzDecoder<BufReader<File>>,
    hash: Sha256,
    /// The last bytes read, which may be the hash at the end.
    tail: Vec<u8>,
}

impl Hashing {
    fn new(from: MultiGzDecoder<BufReader<File>>) -> Self {
        Self {
            from,
            hash: Sha256::new(),
            tail: Vec::new(),
        }
    }

    fn finish(&mut self) -> [u8; HASH_BYTES] {
        std::mem::take(&mut self.hash).finish()
    }
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.tail.extend_from_slice(&buffer[..count]);
        let passed = self.tail.len().saturating_sub(HASH_BYTES);
        self.hash.update(&self.tail[..passed]);
        self.tail.drain(..passed);
        Ok(count)
    }
}
