//! Packs the rows of schema 2 into the batches of schema 3, in steps of one transaction each, from wherever the last one
//! ended: a change is always in one of the two tables.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use dqlite::files::parent;
use etcd_state::lease::LeaseCopy;
use openssl::sha::Sha256;
use tracing::{info, warn};

use super::{
    BackupTo, ConversionError, ConversionOptions, Halt, SPARE_BYTES, backup, check_space,
    conversion_bytes, convert::Conversion, used_bytes,
};
use crate::store::{
    OpenError,
    database::{Database, RowFigures, RowSize},
    load::load,
    metrics::Metrics,
    snapshot::{Origin, SnapshotFile},
};

/// Keys and values of one step, in bytes; one change may be more. The engine holds the pages of a step until it is
/// committed.
const STEP_BYTES: u64 = 1024 * 1024;

/// Files of one name, with numbers, beside which no further one is made.
const MAX_BACKUPS: u32 = 100;

/// The rows, and the file that they are saved to, if there is one.
pub struct Saved {
    figures: RowFigures,
    file: Option<PathBuf>,
}

impl Saved {
    /// Deletes what does not hold what the table holds now, or is not needed.
    fn discard(&self) {
        if let Some(file) = &self.file {
            let _ = fs::remove_file(file);
        }
    }
}

/// Saves the rows, unless they are saved already. None if that is not possible, which is no reason not to serve them as they
/// are.
pub async fn save(
    database: &mut Database,
    options: &ConversionOptions,
    member_id: u64,
    is_saved: bool,
) -> Result<Option<Saved>, OpenError> {
    database.complete_rows().await?;
    let figures = database.row_figures().await?;
    let file = match is_saved {
        true => Ok(None),
        false => back_up(database, options, member_id).await,
    };
    match file {
        Ok(file) => Ok(Some(Saved { figures, file })),
        Err(OpenError::Conversion(error)) => {
            warn!(%error, "the database stays at schema 2.1: its rows could not be saved before they are packed");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Makes the tables of schema 3 beside that of the rows, unless the time for it is over. Returns whether they can be packed.
pub async fn begin(
    database: &mut Database,
    saved: &Saved,
    is_time: bool,
) -> Result<bool, OpenError> {
    if !is_time {
        saved.discard();
        return Ok(false);
    }
    let begun = database.begin_packing(&saved.figures).await?;
    if begun {
        info!(
            rows = saved.figures.rows,
            "rows are packed into batches: schema 3.0"
        );
    } else {
        saved.discard();
        warn!("another program still writes to the database: it stays at schema 2.1");
    }
    Ok(begun)
}

pub async fn run(database: &mut Database, metrics: &Metrics, halt: &Halt) -> Result<(), OpenError> {
    // A step that was under way is done or undone before anything is read.
    database.fence().await?;
    let (done, rest) = database.resume_packing().await?;
    let what = "packing rows into batches";
    let mut conversion = Conversion::new(what, done, done + rest, metrics);
    if done > 0 {
        info!(rows = done, of = done + rest, "the packing goes on");
    }
    loop {
        let sizes = database.read_row_sizes().await?;
        if sizes.is_empty() {
            break;
        }
        for step in steps(&sizes) {
            database.pack(step).await?;
            conversion.moved(step.len());
            if halt.is_asked() {
                info!(
                    rows = conversion.done(),
                    "the packing goes on at the next start"
                );
                return Ok(());
            }
        }
    }
    database.finish_packing().await?;
    info!(
        rows = conversion.done(),
        took = ?conversion.elapsed(),
        "the rows are packed: the database has schema 3.0"
    );
    Ok(())
}

/// Cuts rows into the parts of one step each.
fn steps(sizes: &[RowSize]) -> impl Iterator<Item = &[RowSize]> {
    let mut rest = sizes;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fitting = rest.iter().take_while(|row| {
            bytes += row.bytes;
            bytes <= STEP_BYTES
        });
        let count = fitting.count().max(1).min(rest.len());
        let (step, later) = rest.split_at(count);
        rest = later;
        (count > 0).then_some(step)
    })
}

/// Returns the file, if there is to be one.
async fn back_up(
    database: &mut Database,
    options: &ConversionOptions,
    member_id: u64,
) -> Result<Option<PathBuf>, OpenError> {
    let storage_dir = &options.storage_dir;
    let used_bytes = used_bytes(database).await?;
    check_space(storage_dir, conversion_bytes(used_bytes))?;
    let path = match &options.backup {
        BackupTo::Nowhere => {
            warn!("no backup is made of the rows, as --take-over-backup=none demands");
            return Ok(None);
        }
        BackupTo::File(path) => unused(path)?,
        BackupTo::Beside => backup::path_beside(storage_dir, "schema-2.1-", "db")?,
    };
    // Before all is read for it.
    check_space(parent(&path), used_bytes + SPARE_BYTES)?;
    database.fence().await?;
    let meta = database.read_meta().await?;
    let loaded = load(database, meta).await;
    let (history, _) = database.settled(loaded).await?;
    let leases = database.read_leases().await?;
    let leases = leases.into_iter().map(|lease| LeaseCopy {
        id: lease.id,
        granted_ttl_s: lease.granted_ttl_s,
        remaining_s: lease.remaining_s,
    });
    let leases: Vec<_> = leases.collect();
    let settings = database.read_settings().await?;
    let origin = Origin {
        member_id,
        raft_term: 0,
        members: Vec::new(),
    };
    let writing = tokio::task::spawn_blocking(move || {
        let snapshot = SnapshotFile::of_history(&history, leases, settings, origin);
        write(&path, snapshot).map(|bytes| (path, bytes))
    });
    let (path, bytes) = writing.await.expect("writing does not panic")?;
    info!(file = %path.display(), bytes, "the rows are saved, as a snapshot that `restore` takes");
    Ok(Some(path))
}

/// Returns the path, or, if there is a file already, the same with a number: it may be of an attempt before.
fn unused(path: &Path) -> Result<PathBuf, ConversionError> {
    let is_unused = |path: &Path| path.symlink_metadata().is_err();
    let numbered = (1..MAX_BACKUPS).map(|number| with_suffix(path, &format!(".{number}")));
    std::iter::once(path.to_owned())
        .chain(numbered)
        .find(|path| is_unused(path))
        .ok_or_else(|| ConversionError::Exists(path.to_owned()))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Writes the file under another name, reads it back, and names it. Returns its length.
fn write(path: &Path, snapshot: SnapshotFile) -> Result<u64, ConversionError> {
    let bytes = snapshot.remaining_bytes();
    check_space(parent(path), bytes)?;
    let partial = with_suffix(path, ".partial");
    let written = write_partial(&partial, snapshot)
        .map_err(ConversionError::file(&partial))
        .and_then(|()| backup::publish(&partial, path));
    written.inspect_err(|_| drop(fs::remove_file(&partial)))?;
    Ok(bytes)
}

fn write_partial(path: &Path, snapshot: SnapshotFile) -> io::Result<()> {
    // Of an attempt that was killed.
    let _ = fs::remove_file(path);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = BufWriter::new(options.open(path)?);
    let mut written = Sha256::new();
    for blob in snapshot {
        written.update(&blob.bytes);
        file.write_all(&blob.bytes)?;
    }
    file.into_inner()?.sync_all()?;
    let mut found = Sha256::new();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => found.update(&buffer[..count]),
        }
    }
    if written.finish() != found.finish() {
        return Err(io::Error::other("it differs from what was written"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use etcd_state::mvcc::RowId;

    use super::*;

    #[test]
    fn a_step_has_rows_up_to_its_size_and_at_least_one() {
        let sizes = [600, 500, 100, 2000, 1].map(|kib| RowSize {
            id: RowId::from_number(kib),
            bytes: kib.cast_unsigned() * 1024,
        });
        let lengths: Vec<_> = steps(&sizes).map(<[_]>::len).collect();
        assert_eq!(lengths, [1, 2, 1, 1]);
        assert_eq!(steps(&[]).count(), 0);
    }
}
