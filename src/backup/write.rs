//! Writes the pieces of a snapshot to the file. Blocks: not for a thread that serves requests.

use std::{
    fs::File,
    io::{BufWriter, Write},
};

use super::{
    BackupError, PartialFile, Written,
    format::{Head, SnapshotInfo, TRAILER_BYTES},
    writer::BackupWriter,
};

/// Compressed bytes that are written at a time.
const BUFFER_BYTES: usize = 256 * 1024;

/// A piece of a snapshot, or its end.
#[derive(Debug)]
pub enum Piece<B> {
    Blob(B),
    End(SnapshotInfo),
}

/// Takes pieces until the end. If `next` gives none before that, the sender gave up, and this
/// fails.
pub fn write<B: AsRef<[u8]>>(
    partial: PartialFile,
    head: Head,
    mut next: impl FnMut() -> Result<Option<Piece<B>>, BackupError>,
) -> Result<Written, BackupError> {
    let unwritable = |error| partial.unwritable(error);
    let out = BufWriter::with_capacity(BUFFER_BYTES, partial.file());
    let mut writer = BackupWriter::begin(out, head).map_err(unwritable)?;
    let info = loop {
        match next()? {
            Some(Piece::Blob(blob)) => writer.write(blob.as_ref()).map_err(unwritable)?,
            Some(Piece::End(info)) => break info,
            None => return Err(BackupError::Interrupted),
        }
    };
    let finished = writer.finish(info).map_err(unwritable)?;
    let (mut out, trailer) = finished.ok_or(BackupError::WrongStream)?;
    out.flush().map_err(unwritable)?;
    drop::<BufWriter<&File>>(out);
    let path = partial.target().to_owned();
    partial.complete()?;
    Ok(Written {
        path,
        trailer,
        bytes: trailer.file_bytes + TRAILER_BYTES as u64,
    })
}
