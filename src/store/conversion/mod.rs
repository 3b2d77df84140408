//! Brings a database to the newest schema. That of a Go k8s-dqlite is converted: its table of rows becomes this
//! program's tables.
//!
//! Invariants: nothing is changed before every node runs this program and the old rows are in a backup that was
//! read back. From then on each step is one transaction that moves some of the rows: a row is always in one of
//! the two tables, so whoever leads next goes on where the last step ended. Until all rows are moved the schema
//! version is one that other programs refuse.
//!
//! The same holds for the rows of schema 2, which are packed into batches: see `pack`.
//!
//! Values of a Go k8s-dqlite never leave the engine: the rules see the rest of a row, and SQL copies what they decided
//! about.

pub mod backup;
mod convert;
mod error;
mod pack;
mod rules;
mod schema;
mod table;

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use dqlite::{
    client::{Endpoint, Error},
    files::parent,
};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

pub use self::error::ConversionError;
pub use self::table::{OldTable, Survey};
use self::{backup::WrittenBackup, table::Stage};
use super::{OpenError, database::Database, metrics::Metrics};
use crate::process::disk;

/// The interval at which the other nodes are asked whether they are ready.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// The longest that a leader asks whether all nodes know the schema of batches. Clients of a cluster that has the store wait
/// meanwhile, and a node that is away does not answer.
const LOADED_ASK_TIMEOUT: Duration = Duration::from_millis(500);
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// The interval at which the log says what the conversion waits for.
const REMIND_INTERVAL: Duration = Duration::from_secs(30);

/// Free space that a conversion needs on the disk of the storage directory, as a multiple of the pages in use: one
/// for the log of its steps, one for a snapshot beside the older one.
const CONVERSION_SPACE: u64 = 2;

/// The space that stays free beside that, in bytes: the engine allocates its log in pieces of 8
/// MiB.
const SPARE_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes of a page of the database.
const PAGE_BYTES: u64 = 4096;

/// The place to which the old rows are saved before they are converted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum BackupTo {
    /// A file of its own in the directory beside the storage directory.
    #[default]
    Beside,
    File(PathBuf),
    Nowhere,
}

#[derive(Debug, Clone)]
pub struct ConversionOptions {
    pub storage_dir: PathBuf,
    pub backup: BackupTo,
}

/// Asks a conversion to end where it can go on later, which is never within a transaction: the engine may abort at its
/// stop if a connection went away in the middle of one.
#[derive(Debug, Default)]
pub struct Halt(AtomicBool);

impl Halt {
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The other nodes, each of which must know a schema version before anything is changed to it.
pub trait Others: Sync {
    /// Returns those that do not know `schema`, each with what an operator has to know. Empty if all do.
    fn missing(&self, schema: i64) -> impl Future<Output = Vec<String>> + Send;
}

/// The node that converts.
pub(super) struct Node {
    pub member_id: u64,
    /// That of the database, if it has none yet.
    pub cluster_id: u64,
    /// It has the store, from the leader before.
    pub is_loaded: bool,
}

/// Brings the database of this node, which leads, to the newest schema: converts the data of a Go k8s-dqlite, and packs
/// rows into batches. Returns at once if there is nothing to do. The result means nothing once `halt` was asked.
pub(super) async fn run(
    endpoint: &Endpoint,
    options: &ConversionOptions,
    node: &Node,
    others: &impl Others,
    metrics: &Metrics,
    halt: &Halt,
) -> Result<(), OpenError> {
    let mut database = Database::open_on_leader(endpoint).await?;
    let mut is_announced = false;
    let mut is_saved = false;
    while !halt.is_asked() {
        match table::stage(&mut database).await? {
            Stage::None => return Ok(()),
            Stage::Half => {
                convert::run(&mut database, metrics, halt).await?;
                // Its rows are in the backup of the old tables.
                is_saved = true;
            }
            Stage::Rows => {
                if !all_know_batches(node, others).await {
                    return Ok(());
                }
                let Some(saved) =
                    pack::save(&mut database, options, node.member_id, is_saved).await?
                else {
                    return Ok(());
                };
                // That may have taken minutes.
                let is_time = !halt.is_asked() && all_know_batches(node, others).await;
                if !pack::begin(&mut database, &saved, is_time).await? {
                    return Ok(());
                }
            }
            Stage::Packing => pack::run(&mut database, metrics, halt).await?,
            Stage::Old(version) => {
                if !is_announced {
                    is_announced = true;
                    info!(
                        schema = format_args!("{}.{}", version >> 16, version & 0xffff),
                        "the database is that of a Go k8s-dqlite: converting it"
                    );
                }
                wait_for_others(others, halt).await;
                if halt.is_asked() {
                    break;
                }
                prepare(
                    &mut database,
                    options,
                    version,
                    others,
                    node.cluster_id,
                    halt,
                )
                .await?;
            }
        }
    }
    Ok(())
}

/// Returns whether all nodes know the schema of batches, and says which do not.
async fn all_know_batches(node: &Node, others: &impl Others) -> bool {
    let ask_timeout = match node.is_loaded {
        true => LOADED_ASK_TIMEOUT,
        false => ASK_TIMEOUT,
    };
    let missing = timeout(ask_timeout, others.missing(schema::NEWEST)).await;
    let missing = missing.unwrap_or_else(|_| vec!["a node that does not answer".to_owned()]);
    if !missing.is_empty() {
        info!(
            "the database stays at schema 2.1 until this node leads again while every node knows 3.0. Not yet: {}",
            missing.join(", ")
        );
    }
    missing.is_empty()
}

async fn wait_for_others(others: &impl Others, halt: &Halt) {
    let mut reminded: Option<Instant> = None;
    loop {
        let missing = others.missing(schema::ROWS).await;
        if missing.is_empty() || halt.is_asked() {
            return;
        }
        if reminded.is_none_or(|at| at.elapsed() > REMIND_INTERVAL) {
            reminded = Some(Instant::now());
            warn!(
                "the data of the Go k8s-dqlite is converted when every node runs this program, and nothing is \
                 served until then. Start it on, or remove from the cluster: {}",
                missing.join(", ")
            );
        }
        sleep(ASK_INTERVAL).await;
    }
}

/// Makes the backup, and begins, unless something has changed meanwhile.
async fn prepare(
    database: &mut Database,
    options: &ConversionOptions,
    version: i64,
    others: &impl Others,
    cluster_id: u64,
    halt: &Halt,
) -> Result<(), OpenError> {
    let survey = table::survey(database).await?;
    survey.check()?;
    let used_bytes = used_bytes(database).await?;
    let backup = back_up(database, options, version, &survey, used_bytes, halt).await?;
    let has_begun = others.missing(schema::ROWS).await.is_empty()
        && table::begin(database, version, &survey, cluster_id).await?;
    if has_begun {
        info!(rows = survey.rows, "the conversion begins");
        return Ok(());
    }
    warn!("another program still writes to the database: starting over");
    if let Some(backup) = backup {
        backup.discard();
    }
    Ok(())
}

async fn used_bytes(database: &mut Database) -> Result<u64, OpenError> {
    let pages = database.pages().await?;
    Ok((pages.total - pages.free.min(pages.total)) * PAGE_BYTES)
}

/// Free bytes that a conversion of as many bytes needs beside its backup.
fn conversion_bytes(used_bytes: u64) -> u64 {
    CONVERSION_SPACE * used_bytes + SPARE_BYTES
}

async fn back_up(
    database: &mut Database,
    options: &ConversionOptions,
    version: i64,
    survey: &Survey,
    used_bytes: u64,
    halt: &Halt,
) -> Result<Option<WrittenBackup>, OpenError> {
    let storage_dir = &options.storage_dir;
    let conversion_bytes = conversion_bytes(used_bytes);
    let Some(path) = backup_path(options)? else {
        check_space(storage_dir, conversion_bytes)?;
        warn!("no backup is made of the old tables, as --take-over-backup=none demands");
        return Ok(None);
    };
    let dir = parent(&path);
    // What does not compress takes as much as it does now. Both may be on one disk.
    check_space(dir, used_bytes + SPARE_BYTES)?;
    check_space(storage_dir, conversion_bytes + used_bytes)?;
    let started = Instant::now();
    info!(file = %path.display(), rows = survey.rows, "backing up the old tables");
    let written = backup::write(database, &path, version, survey, halt).await?;
    info!(
        file = %path.display(),
        bytes = written.bytes,
        rows = survey.rows,
        sha256 = written.sha256,
        took = ?started.elapsed(),
        "the backup is written and verified"
    );
    Ok(Some(written))
}

fn backup_path(options: &ConversionOptions) -> Result<Option<PathBuf>, ConversionError> {
    match &options.backup {
        BackupTo::Nowhere => Ok(None),
        BackupTo::File(path) => Ok(Some(path.clone())),
        BackupTo::Beside => backup::path_beside(&options.storage_dir, "kine-", "gz").map(Some),
    }
}

fn check_space(dir: &Path, needed_bytes: u64) -> Result<(), ConversionError> {
    let free_bytes = disk::free_bytes(dir).map_err(ConversionError::file(dir))?;
    if free_bytes < needed_bytes {
        return Err(ConversionError::NoSpace {
            dir: dir.to_owned(),
            free_bytes,
            needed_bytes,
        });
    }
    Ok(())
}

/// The reaction to an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Try again: it happens while leaders change.
    Again,
    /// Try again, and say so.
    AgainAloud,
    None,
}

pub fn remedy(error: &OpenError) -> Remedy {
    match error {
        OpenError::Overtaken
        | OpenError::Dqlite(Error::NotLeader | Error::NoLeader { .. } | Error::Busy { .. }) => {
            Remedy::Again
        }
        OpenError::Dqlite(
            Error::Sql { .. }
            | Error::Constraint { .. }
            | Error::TooLarge { .. }
            | Error::Invalid(_)
            | Error::Protocol(_),
        ) => Remedy::None,
        OpenError::Dqlite(_) => Remedy::AgainAloud,
        _ => Remedy::None,
    }
}
