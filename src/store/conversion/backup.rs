//! The backup of the old table: a gzip file that `k8s-dqlite roll-back` makes a storage directory of.
//!
//! Invariant: a file has its name only after all of it is on the disk and was read back, row for row.

mod format;
mod reader;
mod writer;

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use dqlite::{
    files::{parent, sync_dir},
    wire::Param,
};
use tokio::sync::mpsc;

pub use self::reader::Reader;
use self::{format::Header, writer::Writer};
use super::{
    ConversionError, Halt, schema,
    table::{StoredRow, Survey},
};
use crate::store::{OpenError, database::Database};

/// Appended to the name of the storage directory.
const SUFFIX: &str = ".take-over";

/// The extension of a file that is not complete.
pub const PARTIAL: &str = "partial";

/// Rows of one query, which streams them.
const READ_ROWS: i64 = 4096;

/// Encoded rows that wait for the thread that compresses: the size of a piece, and the number of
/// pieces.
const PIECE_BYTES: usize = 1024 * 1024;
const MAX_PIECES: usize = 4;

#[derive(Debug)]
pub struct WrittenBackup {
    pub path: PathBuf,
    pub bytes: u64,
    pub sha256: String,
}

impl WrittenBackup {
    /// Deletes what does not hold what the table holds now.
    pub fn discard(self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A new name in the directory beside the storage directory.
pub fn path_beside(
    storage_dir: &Path,
    prefix: &str,
    extension: &str,
) -> Result<PathBuf, ConversionError> {
    let storage_dir = fs::canonicalize(storage_dir).map_err(ConversionError::file(storage_dir))?;
    let mut dir = storage_dir.into_os_string();
    dir.push(SUFFIX);
    let dir = PathBuf::from(dir);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dir)
        .map_err(ConversionError::file(&dir))?;
    remove_partial(&dir);
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Ok(dir.join(format!("{prefix}{}.{extension}", since.as_millis())))
}

/// Removes the incomplete files of attempts that were killed.
fn remove_partial(dir: &Path) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        if path
            .extension()
            .is_some_and(|extension| extension == PARTIAL)
        {
            let _ = fs::remove_file(path);
        }
    }
}

/// Writes all rows of the old table to a new file, and reads it back.
pub async fn write(
    database: &mut Database,
    path: &Path,
    version: i64,
    survey: &Survey,
    halt: &Halt,
) -> Result<WrittenBackup, OpenError> {
    let header = Header {
        user_version: version,
        sequence: survey.sequence.number(),
        compact_revision: survey.compacted.number(),
        last: survey.last.number(),
    };
    let (pieces, received) = mpsc::channel(MAX_PIECES);
    let target = path.to_owned();
    let writing = tokio::task::spawn_blocking(move || write_file(&target, &header, received));
    let sent = send_rows(database, pieces, halt).await;
    let written = writing.await.expect("writing does not panic");
    // An error of the file ends the sending, so it comes first.
    let (rows, written) = written?;
    let sent = sent?;
    if rows != sent || rows.cast_signed() != survey.rows {
        written.discard();
        return Err(ConversionError::Unverified {
            path: path.to_owned(),
            reason: format!("it has {rows} rows, the table {}", survey.rows),
        }
        .into());
    }
    Ok(written)
}

async fn send_rows(
    database: &mut Database,
    pieces: mpsc::Sender<Piece>,
    halt: &Halt,
) -> Result<u64, OpenError> {
    let (mut after, mut count) = (i64::MIN, 0);
    let mut piece = Piece::default();
    loop {
        let params = [Param::Integer(after), Param::Integer(READ_ROWS)];
        let connection = database.connection();
        let mut rows = connection.query_sql(schema::READ_ROWS, &params).await?;
        let mut read = 0;
        while let Some(part) = rows.next_part().await? {
            for row in part {
                let row = StoredRow::from_engine(&row)?;
                after = row.id.number();
                read += 1;
                piece.push(&row);
                if piece.encoded.len() >= PIECE_BYTES
                    && pieces.send(std::mem::take(&mut piece)).await.is_err()
                {
                    return Ok(count);
                }
            }
        }
        count += read as u64;
        if halt.is_asked() {
            return Ok(count);
        }
        if read < READ_ROWS {
            piece.is_last = true;
            let _ = pieces.send(piece).await;
            return Ok(count);
        }
    }
}

/// Rows on their way into the file.
#[derive(Default)]
struct Piece {
    encoded: Vec<u8>,
    rows: u64,
    is_last: bool,
}

impl Piece {
    fn push(&mut self, row: &StoredRow) {
        format::encode(row, &mut self.encoded);
        self.rows += 1;
    }
}

fn write_file(
    path: &Path,
    header: &Header,
    mut pieces: mpsc::Receiver<Piece>,
) -> Result<(u64, WrittenBackup), ConversionError> {
    if path.symlink_metadata().is_ok() {
        return Err(ConversionError::Exists(path.to_owned()));
    }
    let partial = path.with_extension(PARTIAL);
    let written = write_partial(&partial, header, &mut pieces);
    let finished = written.and_then(|written| {
        publish(&partial, path)?;
        Ok(written)
    });
    let (rows, sha256) = finished.inspect_err(|_| drop(fs::remove_file(&partial)))?;
    let bytes = fs::metadata(path)
        .map_err(ConversionError::file(path))?
        .len();
    let written = WrittenBackup {
        path: path.to_owned(),
        bytes,
        sha256,
    };
    Ok((rows, written))
}

fn write_partial(
    partial: &Path,
    header: &Header,
    pieces: &mut mpsc::Receiver<Piece>,
) -> Result<(u64, String), ConversionError> {
    let failed = |source| ConversionError::File {
        path: partial.to_owned(),
        source,
    };
    let mut writer = Writer::create(partial, header).map_err(failed)?;
    loop {
        let Some(piece) = pieces.blocking_recv() else {
            // Who reads the table gave up, and says why.
            return Err(failed(io::ErrorKind::Interrupted.into()));
        };
        writer.write(&piece.encoded, piece.rows).map_err(failed)?;
        if piece.is_last {
            break;
        }
    }
    let (rows, sha256) = writer.finish().map_err(failed)?;
    verify(partial, header, rows, &sha256)?;
    Ok((rows, sha256))
}

fn verify(path: &Path, header: &Header, rows: u64, sha256: &str) -> Result<(), ConversionError> {
    let unverified = |reason: String| ConversionError::Unverified {
        path: path.to_owned(),
        reason,
    };
    let mut reader = Reader::open(path).map_err(|error| unverified(error.to_string()))?;
    let mut found = 0;
    while reader
        .next_row()
        .map_err(|error| unverified(error.to_string()))?
        .is_some()
    {
        found += 1;
    }
    if reader.header() != header || found != rows || reader.sha256() != Some(sha256) {
        return Err(unverified("it differs from what was written".to_owned()));
    }
    Ok(())
}

/// Gives a file its name, which nothing may have taken meanwhile.
pub fn publish(partial: &Path, path: &Path) -> Result<(), ConversionError> {
    match fs::hard_link(partial, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(ConversionError::Exists(path.to_owned()));
        }
        // Not every file system has links.
        Err(_) => fs::rename(partial, path).map_err(ConversionError::file(path))?,
        Ok(()) => fs::remove_file(partial).map_err(ConversionError::file(partial))?,
    }
    let dir = parent(path);
    sync_dir(dir).map_err(ConversionError::file(dir))
}

#[cfg(test)]
mod tests;
