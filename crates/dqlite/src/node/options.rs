//! The options of a node.

use std::{
    ffi::{CString, c_int, c_uint},
    path::PathBuf,
    time::Duration,
};

use dqlite_sys as ffi;

use crate::wire::NodeId;

use super::{Dial, NodeError};

/// The id of the node that began a cluster in go-dqlite (`BootstrapID`) and until version 0.1. The engine treats
/// this id and 1 alike: on an empty directory they form a new cluster of one (dqlite: src/server.c,
/// `maybeBootstrap`).
pub const BOOTSTRAP_ID: NodeId = NodeId::new(0x2dc1_7185_8c31_55be);

/// The longest time that a write waits for another connection's transaction. Only a shell competes with the server's
/// single writer; five seconds outlast any reasonable transaction of a shell.
pub const DEFAULT_BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The size of `sockaddr_un` after the leading NUL byte of an abstract name.
const BIND_ADDRESS_BYTES_MAX: usize = 107;

/// libdqlite keeps the path in a fixed buffer (dqlite: src/raft/uv.h, `UV__DIR_LEN`).
const DIR_BYTES_MAX: usize = 894;

/// The engine's own limit: one hour.
const NETWORK_LATENCY_MS_MAX: u128 = 3_600_000;

/// The engine keeps at least this many log entries after a snapshot.
const TRAILING_MIN: u32 = 4;

#[derive(Clone)]
pub struct NodeOptions {
    /// Unique in the cluster and never 0. Fixed for the life of a directory.
    pub id: NodeId,
    /// The address that other nodes dial. It changes only between a stop and a start.
    pub address: String,
    /// The data directory, which must exist.
    pub dir: PathBuf,
    /// True if an empty `dir` may become a new cluster.
    pub bootstrap: bool,
    /// An abstract unix socket: `@name`, or `@` for a name that the kernel picks.
    pub bind_address: String,
    pub failure_domain: u64,
    /// One way, 1 ms to 1 h. Elections wait 15 to 30 times as long. `None`: the engine's default,
    /// which corresponds to 200 ms.
    pub network_latency: Option<Duration>,
    pub snapshot: SnapshotOptions,
    pub busy_timeout: Duration,
    /// Unit of log writes: a power of two, 512 B to 256 KiB. `None`: a sector where the disk and the
    /// file system take that, else what the engine finds.
    pub block_size_bytes: Option<usize>,
    /// Connects to another node.
    pub dial: Dial,
}

/// The numbers of log entries after which a snapshot is taken, and that are kept after it. The kept log stays in
/// memory, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotOptions {
    /// A snapshot is taken after this many log entries.
    pub threshold: u32,
    /// It waits for up to this many, but no more than `trailing`, while one has more than a quarter of the bytes of the
    /// log between two.
    pub threshold_max: u32,
    /// This many entries are kept after it, for nodes that fell behind. At least `threshold`.
    pub trailing: u32,
    pub strategy: Trailing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trailing {
    /// Always keep `trailing` entries.
    Static,
    /// Keep as much log as the snapshot is large, but no less than `threshold` and no more than
    /// `trailing` entries: sending the snapshot is cheaper than sending more.
    Dynamic,
}

impl SnapshotOptions {
    /// Returns the most log entries between two snapshots.
    pub(super) fn most_entries(&self) -> u32 {
        self.threshold_max.min(self.trailing).max(self.threshold)
    }
}

impl Default for SnapshotOptions {
    /// An entry of a full batch is about 180 KiB: 1024 of them bound the log in memory to some 200
    /// MB at full load, and the snapshot's writes to one database per 1024 batches. Where entries are small and the
    /// database is large, there are 4096 of them, and their log is smaller than the database.
    fn default() -> Self {
        Self {
            threshold: 1024,
            threshold_max: 4096,
            trailing: 4096,
            strategy: Trailing::Dynamic,
        }
    }
}

impl NodeOptions {
    pub fn new(
        id: NodeId,
        address: impl Into<String>,
        dir: impl Into<PathBuf>,
        dial: Dial,
    ) -> Self {
        Self {
            id,
            address: address.into(),
            dir: dir.into(),
            bootstrap: false,
            bind_address: default_bind_address(id),
            failure_domain: 0,
            network_latency: None,
            snapshot: SnapshotOptions::default(),
            busy_timeout: DEFAULT_BUSY_TIMEOUT,
            block_size_bytes: None,
            dial,
        }
    }

    pub(super) fn checked(&self) -> Result<Checked, NodeError> {
        if self.id.is_unknown() {
            return Err(invalid("id", "must not be 0"));
        }
        if self.address.is_empty() {
            return Err(invalid("address", "must not be empty"));
        }
        if !self.bind_address.starts_with('@') {
            return Err(invalid(
                "bind address",
                format!(
                    "{:?} is not an abstract unix socket (@name); the engine has no authentication \
                     and must not be reachable from outside",
                    self.bind_address
                ),
            ));
        }
        if self.bind_address.len() - 1 > BIND_ADDRESS_BYTES_MAX {
            return Err(invalid(
                "bind address",
                format!("has more than {BIND_ADDRESS_BYTES_MAX} bytes after the @"),
            ));
        }
        let SnapshotOptions {
            threshold,
            trailing,
            ..
        } = self.snapshot;
        if threshold == 0 || trailing < TRAILING_MIN || trailing < threshold {
            return Err(invalid(
                "snapshot parameters",
                format!(
                    "threshold {threshold}, trailing {trailing}: threshold must be at least 1, and \
                     trailing at least {TRAILING_MIN} and no less than threshold"
                ),
            ));
        }
        if let Some(size) = self.block_size_bytes
            && !(size.is_power_of_two() && (512..=256 * 1024).contains(&size))
        {
            return Err(invalid(
                "block size",
                format!("{size} is not a power of two between 512 B and 256 KiB"),
            ));
        }
        Ok(Checked {
            address: c_string("address", &self.address)?,
            bind_address: c_string("bind address", &self.bind_address)?,
            dir: checked_dir(&self.dir)?,
            network_latency_ms: self.network_latency.map(latency_ms).transpose()?,
            busy_timeout_ms: c_uint::try_from(self.busy_timeout.as_millis())
                .map_err(|_| invalid("busy timeout", "is too long"))?,
        })
    }
}

/// The parts of the options that C takes in another form.
pub(super) struct Checked {
    pub address: CString,
    pub bind_address: CString,
    pub dir: CString,
    pub network_latency_ms: Option<c_uint>,
    pub busy_timeout_ms: c_uint,
}

impl Trailing {
    pub(super) fn as_c(self) -> c_int {
        match self {
            Self::Static => ffi::DQLITE_SNAPSHOT_TRAILING_STATIC,
            Self::Dynamic => ffi::DQLITE_SNAPSHOT_TRAILING_DYNAMIC,
        }
    }
}

pub(super) fn is_bootstrap_id(id: NodeId) -> bool {
    id == NodeId::new(1) || id == BOOTSTRAP_ID
}

pub(super) fn checked_dir(dir: &std::path::Path) -> Result<CString, NodeError> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = dir.as_os_str().as_bytes();
    if bytes.len() > DIR_BYTES_MAX {
        return Err(invalid(
            "directory",
            format!("path has more than {DIR_BYTES_MAX} bytes"),
        ));
    }
    CString::new(bytes).map_err(|_| invalid("directory", "contains a NUL byte"))
}

fn c_string(option: &'static str, text: &str) -> Result<CString, NodeError> {
    CString::new(text).map_err(|_| invalid(option, "contains a NUL byte"))
}

fn latency_ms(latency: Duration) -> Result<c_uint, NodeError> {
    match latency.as_micros().div_ceil(1000) {
        ms @ 1..=NETWORK_LATENCY_MS_MAX => Ok(ms as c_uint),
        _ => Err(invalid(
            "network latency",
            format!("{latency:?} is not between 1 ms and 1 h"),
        )),
    }
}

fn invalid(option: &'static str, reason: impl Into<String>) -> NodeError {
    NodeError::InvalidOption {
        option,
        reason: reason.into(),
    }
}

/// The socket to use unless there is a reason for another: a name that the kernel picks, so that
/// two clusters can run on one machine. Confined snaps may only use names with their own prefix; the first nodes of
/// two clusters have the same id.
pub fn default_bind_address(id: NodeId) -> String {
    match std::env::var("SNAP_INSTANCE_NAME") {
        Ok(name) if !name.is_empty() => {
            format!("@snap.{name}.dqlite-{id}-{}", std::process::id())
        }
        _ => "@".to_owned(),
    }
}

/// A new id for a node that is going to join a cluster. Two calls never agree, even for one
/// address.
pub fn generate_node_id(address: &str) -> Result<NodeId, NodeError> {
    let address = c_string("address", address)?;
    loop {
        // SAFETY: reads a NUL-terminated string and the clock.
        let id = NodeId::new(unsafe { ffi::dqlite_generate_node_id(address.as_ptr()) });
        if !id.is_unknown() && !is_bootstrap_id(id) {
            return Ok(id);
        }
    }
}
