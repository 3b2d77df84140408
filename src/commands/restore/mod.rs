//! Makes a new single node's storage directory of a snapshot, one of ours or of an etcd, or of an archive.
//!
//! Invariants: the snapshot is checked before the directory is touched, and no other node of its cluster may run; until all of it is written, the
//! directory holds a mark with which no server starts; repeating an interrupted restore begins anew.

mod archived;
mod content;
mod directory;
mod file;
mod nodes;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use archive::{RouteError, place::PlaceError};
use dqlite::{
    client::Endpoint,
    cluster_id::ClusterId,
    files::{read_cluster_id, write_cluster},
    node::{Dial, DirLock, Node, NodeError, NodeOptions},
    wire::{Role, Server},
};
use etcd_state::mvcc::Revision;
use tracing::info;

pub(crate) use self::directory::Directory;
use self::directory::choose_address;
pub use self::file::SnapshotSource;
use self::{archived::Archived, content::Contents};
use crate::{
    args::RestoreArgs,
    backup::{BackupError, Scratch, SnapshotInfo, Trailer},
    config::{ConfigError, Start},
    store::{Filling, OpenError},
};

#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is no snapshot: {reason}", path.display())]
    NoSnapshot { path: PathBuf, reason: String },
    #[error(
        "{} does not end with a checksum: it was cut off, or copied from an etcd's directory; \
         for the latter there is --skip-hash-check", .0.display()
    )]
    NoChecksum(PathBuf),
    #[error("{} is damaged: its checksum is wrong", .0.display())]
    WrongChecksum(PathBuf),
    #[error("the snapshot cannot be restored: {0}")]
    Content(String),
    #[error("the backup states {said}, but contains {found}")]
    OtherThanSaid { said: String, found: String },
    #[error(
        "nodes of the cluster that was saved still run: {}. They would go on with their own data beside the restored \
         node. Stop k8s-dqlite on all of them, then restore; nothing was changed. For a cluster beside that one, add \
         --force", .0.join(", ")
    )]
    StillRun(Vec<String>),
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("the archive cannot be restored: {0}")]
    Archive(#[from] RouteError),
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// The figures of a snapshot that was checked or restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    pub revision: Revision,
    /// The revision before it was bumped.
    pub snapshot_revision: Revision,
    pub compact_revision: Revision,
    pub rows: u64,
    pub keys: usize,
    pub leases: usize,
    /// The hash that HashKV will answer.
    pub hash: u32,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            revision,
            snapshot_revision: _,
            compact_revision,
            rows,
            keys,
            leases,
            hash,
        } = self;
        match compact_revision.number() {
            ..=0 => write!(f, "revision {revision}, not compacted")?,
            _ => write!(f, "revision {revision}, compacted at {compact_revision}")?,
        }
        write!(
            f,
            ", {keys} keys in {rows} versions, {leases} leases, hash {hash}"
        )
    }
}

/// Restores, or with `dry_run` reads all of the snapshot and changes nothing.
pub async fn run(args: &RestoreArgs) -> Result<Summary, RestoreError> {
    let (mut contents, mut archived, info) = match &args.from {
        Some(url) => {
            let (source, archived) = Archived::open(url, args).await?;
            let contents = Contents::read_archived(source, args.bump_revision, archived.route())?;
            (contents, Some(archived), SnapshotInfo::default())
        }
        None => {
            let scratch = Scratch::beside(args.file(), args.scratch_dir.as_deref());
            let source = SnapshotSource::open(args.file(), args.skip_hash_check, &scratch)?;
            let info = source.backup().map(|(_, trailer)| trailer.info);
            let contents = Contents::read(source, args.bump_revision)?;
            (contents, None, info.unwrap_or_default())
        }
    };
    info!(
        rows = contents.rows(),
        revision = contents.revision().number(),
        compact_revision = contents.compact_revision().number(),
        leases = contents.leases().len(),
        "read the snapshot"
    );
    let Some(dir) = args.storage_dir.as_ref().filter(|_| !args.dry_run) else {
        while contents.next()?.is_some() {}
        if let Some(archived) = &mut archived {
            while archived.next(&mut contents).await?.is_some() {}
        }
        let summary = contents.finish()?;
        check_info(&info, &summary)?;
        return Ok(summary);
    };
    if !args.force {
        let own = choose_address(dir, args.address.as_ref())?;
        nodes::refuse_running(dir, own.as_str(), contents.node_addresses()?).await?;
    }
    let (directory, lock) = Directory::prepare(dir, args.address.as_ref())?;
    let (mut node, start) = start_engine(&directory, lock).await?;
    let cluster_id = read_cluster_id(directory.path()).map_err(ConfigError::from)?;
    let cluster_id = cluster_id.map_or_else(rand::random, |history| history.id);
    let filled = fill(&mut contents, archived, &node, cluster_id).await;
    let stopped = tokio::task::spawn_blocking(move || node.stop());
    stopped.await.expect("stopping does not panic")?;
    filled?;
    let summary = contents.finish()?;
    check_info(&info, &summary)?;
    start.finish(directory.path())?;
    directory.finish()?;
    Ok(summary)
}

/// Reads all of a backup or snapshot, and makes nothing. Of a backup it tells when it was made, and its trailer.
pub fn read_all(
    path: &Path,
    scratch: &Scratch,
) -> Result<(Summary, Option<(u64, Trailer)>), RestoreError> {
    let source = SnapshotSource::open(path, false, scratch)?;
    let backup = source.backup();
    let mut contents = Contents::read(source, 0)?;
    while contents.next()?.is_some() {}
    let summary = contents.finish()?;
    if let Some((_, trailer)) = &backup {
        check_info(&trailer.info, &summary)?;
    }
    Ok((summary, backup))
}

/// Checks that the snapshot is the one that the server described. A bumped one is not compared.
fn check_info(info: &SnapshotInfo, summary: &Summary) -> Result<(), RestoreError> {
    let differs = |what: &str, said: i64, found: i64| match said == found {
        true => Ok(()),
        false => Err(RestoreError::OtherThanSaid {
            said: format!("{what} {said}"),
            found: format!("{what} {found}"),
        }),
    };
    if let Some(revision) = info.revision {
        differs(
            "revision",
            revision.number(),
            summary.snapshot_revision.number(),
        )?;
    }
    match info.hash {
        Some(known) if known.compact_revision == summary.compact_revision => {
            differs("hash", known.hash.into(), summary.hash.into())
        }
        _ => Ok(()),
    }
}

async fn fill(
    contents: &mut Contents,
    archived: Option<Archived>,
    node: &Node,
    cluster_id: u64,
) -> Result<(), RestoreError> {
    let endpoint = Endpoint::from_address(node.bind_address());
    let mut filling = Filling::begin(&endpoint, cluster_id).await?;
    while let Some(change) = contents.next()? {
        filling.push(change).await?;
    }
    if let Some(mut archived) = archived {
        while let Some(changes) = archived.next(contents).await? {
            for change in changes {
                filling.push(change).await?;
            }
        }
    }
    let settings = contents.take_settings();
    let (compact_revision, revision) = (contents.compact_revision(), contents.revision());
    filling
        .finish(contents.leases(), settings, compact_revision, revision)
        .await?;
    Ok(())
}

/// The engine alone: nobody but this process can reach it.
pub(crate) async fn start_engine(
    directory: &Directory,
    lock: DirLock,
) -> Result<(Node, Start), RestoreError> {
    let dir = directory.path().to_owned();
    let start = Start::First {
        address: directory.address().clone(),
    };
    let starting = tokio::task::spawn_blocking(move || {
        let identity = start.identify(&lock)?;
        // A history of its own, whatever it is made of.
        ClusterId::of(&dir, &identity).map_err(ConfigError::from)?;
        let mut options = NodeOptions::new(identity.id, &identity.address, &dir, nobody());
        options.bootstrap = identity.bootstrap;
        options.network_latency = Some(crate::cluster::node::DEFAULT_NETWORK_LATENCY);
        let mut node = Node::create_locked(&options, lock)?;
        node.start()?;
        let itself = Server {
            id: identity.id,
            address: identity.address,
            role: Role::Voter,
        };
        write_cluster(&dir, &[itself]).map_err(ConfigError::from)?;
        Ok((node, start))
    });
    starting.await.expect("starting does not panic")
}

fn nobody() -> Dial {
    Arc::new(|_: &str| Err(io::ErrorKind::ConnectionRefused.into()))
}
