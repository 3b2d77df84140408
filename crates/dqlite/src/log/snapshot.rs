//! The data file of a snapshot (dqlite: src/raft/uv_fs.c, `UvFsMakeCompressedFile`).
//!
//! One LZ4 frame that says how large its content is and ends with a checksum of it; or, where
//! compression was switched off, the content as it is, of which only the form can be checked.

use std::io::{self, BufRead, Read};

use lz4_flex::frame::FrameDecoder;

use super::{
    bytes::{u32_at, u64_at},
    damage::{DamageKind, Fault},
    snapshot_content::{ContentReader, Database},
};

const LZ4_MAGIC: u32 = 0x184d_2204;

/// Magic, flags, block size, and the size of the content.
const HEAD_BYTES: usize = 14;

/// The flags that say that the frame has the size of its content and a checksum of it.
const HAS_SIZE_AND_CHECKSUM: u8 = 0b1100;

/// Large enough for the disk, small enough for many files at once.
const BUFFER_BYTES: usize = 256 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotData {
    pub databases: Vec<Database>,
    /// True if there is a checksum; without one, nothing proves that the pages are right.
    pub has_checksum: bool,
    /// The size of the decompressed content.
    pub content_bytes: u64,
}

/// Reads a whole snapshot. An error of `file` itself is the outer one.
pub fn read(file: impl Read) -> io::Result<Result<SnapshotData, Fault>> {
    let mut file = io::BufReader::with_capacity(BUFFER_BYTES, file);
    let mut head = Vec::new();
    (&mut file).take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    let is_frame = u32_at(&head, 0) == Some(LZ4_MAGIC);
    let size = u64_at(&head, 6);
    let mut source = Source {
        file: (&head[..]).chain(file),
        offset: 0,
        is_at_end: false,
        error: None,
    };
    if !is_frame {
        let read = read_content(io::BufReader::with_capacity(BUFFER_BYTES, &mut source));
        return source.finish(read.map(|(databases, content_bytes)| SnapshotData {
            databases,
            has_checksum: false,
            content_bytes,
        }));
    }
    let flags = head.get(4).copied().unwrap_or(0);
    if flags & HAS_SIZE_AND_CHECKSUM != HAS_SIZE_AND_CHECKSUM {
        let kind = DamageKind::Decompress("it has no checksum".into());
        return Ok(Err(Fault::at(4, kind)));
    }
    let read = read_content(FrameDecoder::new(&mut source));
    let read = read.and_then(|(databases, content_bytes)| {
        // A frame ends without a read behind the end of the file; otherwise it was cut.
        if source.is_at_end || size != Some(content_bytes) {
            return Err(DamageKind::Cut);
        }
        let has_more = source.read(&mut [0]).is_ok_and(|len| len > 0);
        match has_more {
            true => Err(DamageKind::Trailing),
            false => Ok(SnapshotData {
                databases,
                has_checksum: true,
                content_bytes,
            }),
        }
    });
    source.finish(read)
}

fn read_content(mut content: impl BufRead) -> Result<(Vec<Database>, u64), DamageKind> {
    let mut reader = ContentReader::default();
    let mut fault = None;
    let mut content_bytes = 0;
    loop {
        // The checksum at the end is better evidence than the form, so go on to it.
        let len = match content.fill_buf() {
            Ok([]) => break,
            Ok(bytes) => {
                if fault.is_none() {
                    fault = reader.push(bytes).err();
                }
                bytes.len()
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(DamageKind::Decompress(error.to_string())),
        };
        content_bytes += len as u64;
        content.consume(len);
    }
    match fault {
        Some(fault) => Err(fault),
        None => Ok((reader.finish()?, content_bytes)),
    }
}

/// The file, how far it was read, and what went wrong with it.
struct Source<R> {
    file: R,
    offset: u64,
    is_at_end: bool,
    error: Option<io::Error>,
}

impl<R: Read> Source<R> {
    /// Tells an error of the file from one of its content.
    fn finish<T>(self, read: Result<T, DamageKind>) -> io::Result<Result<T, Fault>> {
        match (self.error, read) {
            (Some(error), _) => Err(error),
            (None, Ok(data)) => Ok(Ok(data)),
            (None, Err(kind)) => Ok(Err(Fault {
                offset: Some(self.offset),
                ..Fault::of_file(kind)
            })),
        }
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.file.read(buffer) {
            Ok(len) => {
                self.offset += len as u64;
                self.is_at_end |= len == 0 && !buffer.is_empty();
                Ok(len)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let copy = io::Error::new(error.kind(), error.to_string());
                self.error = Some(error);
                Err(copy)
            }
        }
    }
}
