//! Makes a single node's storage directory for the Go k8s-dqlite again, from the backup that a conversion made.
//!
//! Invariants: the backup is read as a whole before the directory is touched; until all of it is written, the directory
//! holds a mark with which no server of this program starts.

use std::fmt;

use dqlite::{client::Endpoint, node::Node};
use tracing::info;

use crate::{
    args::RollBackArgs,
    commands::restore::{Directory, RestoreError, start_engine},
    process::progress::Progress,
    store::{
        OpenError,
        conversion::{ConversionError, OldTable, backup::Reader},
    },
};

#[derive(Debug, thiserror::Error)]
pub enum RollBackError {
    #[error(transparent)]
    Backup(#[from] ConversionError),
    #[error(transparent)]
    Directory(#[from] RestoreError),
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// The figures of the backup that was checked or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    is_written: bool,
    user_version: i64,
    rows: u64,
    last: i64,
    sha256: String,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = if self.is_written {
            "rolled back"
        } else {
            "can be rolled back"
        };
        write!(
            f,
            "{done}: schema {}.{}, {} rows up to revision {}, SHA-256 {}",
            self.user_version >> 16,
            self.user_version & 0xffff,
            self.rows,
            self.last,
            self.sha256
        )
    }
}

/// Writes, or with `dry_run` reads all of the backup and changes nothing.
pub async fn run(args: &RollBackArgs) -> Result<Summary, RollBackError> {
    let mut reader = Reader::open(&args.file)?;
    let mut last = 0;
    while let Some(row) = reader.next_row()? {
        last = row.id.number();
    }
    let mut summary = Summary {
        is_written: false,
        user_version: reader.user_version(),
        rows: reader.rows(),
        last,
        sha256: reader.sha256().unwrap_or_default().to_owned(),
    };
    let Some(dir) = args.storage_dir.as_ref().filter(|_| !args.dry_run) else {
        return Ok(summary);
    };
    info!(rows = summary.rows, "the backup is whole");
    let (directory, lock) = Directory::prepare(dir, args.address.as_ref())?;
    let (mut node, start) = start_engine(&directory, lock).await?;
    let filled = fill(Reader::open(&args.file)?, summary.rows, &node).await;
    let stopped = tokio::task::spawn_blocking(move || node.stop());
    let stopped = stopped.await.expect("stopping does not panic");
    stopped.map_err(RestoreError::from)?;
    filled?;
    start.finish(directory.path()).map_err(RestoreError::from)?;
    directory.finish().map_err(RestoreError::from)?;
    summary.is_written = true;
    Ok(summary)
}

async fn fill(mut reader: Reader, rows: u64, node: &Node) -> Result<(), RollBackError> {
    let endpoint = Endpoint::from_address(node.bind_address());
    let mut table = OldTable::create(&endpoint).await?;
    let mut progress = Progress::rows("rolling back", Some(rows));
    while let Some(row) = reader.next_row()? {
        table.push(row).await?;
        progress.advance(1);
    }
    progress.finish();
    table
        .finish(reader.user_version(), reader.sequence())
        .await?;
    Ok(())
}
