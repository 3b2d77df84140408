//! The directories of the snap and what is where in them.
//!
//! Raft's log and votes must never go back, so they are in `$SNAP_COMMON`, which all revisions share. `$SNAP_DATA` is
//! copied at each refresh and comes back with a revert: it has what belongs to a revision, the args files.

use std::{
    env,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, symlink},
    path::{Path, PathBuf},
};

use dqlite::{
    files::{read_info, replace},
    wire::Server,
};

use super::HookError;
use crate::config::ConfigError;

/// The service whose flags these are, as snapd and the args files name it.
pub const SERVER: &str = "k8s-dqlite";
pub const MANAGER: &str = "k8sd";

/// The link from `$SNAP_DATA/var/data` to the storage directory.
const LINK: &str = "../../common/var/lib/k8s-dqlite";

#[derive(Debug, Clone)]
pub struct SnapPaths {
    /// The installed files: read-only.
    pub snap: PathBuf,
    pub data: PathBuf,
    pub common: PathBuf,
    /// `k8s-dqlite`, or `k8s-dqlite_name` where several are installed.
    pub instance: String,
    /// The program that talks to snapd.
    pub snapctl: PathBuf,
}

impl SnapPaths {
    pub fn from_environment() -> Result<Self, HookError> {
        let path = |name| {
            let found = env::var_os(name).map(PathBuf::from);
            found.ok_or(HookError::NoSnap(name))
        };
        Ok(Self {
            snap: path("SNAP")?,
            data: path("SNAP_DATA")?,
            common: path("SNAP_COMMON")?,
            instance: env::var("SNAP_INSTANCE_NAME").unwrap_or_else(|_| SERVER.to_owned()),
            snapctl: "snapctl".into(),
        })
    }

    /// The storage directory of the server.
    pub fn storage(&self) -> PathBuf {
        self.common.join("var/lib/k8s-dqlite")
    }

    /// Returns the id and address of this node, once it has started.
    pub fn own_node(&self) -> Result<Option<Server>, HookError> {
        let own = read_info(&self.storage()).map_err(ConfigError::from)?;
        Ok(own)
    }

    /// The state directory of the cluster manager.
    pub fn manager(&self) -> PathBuf {
        self.common.join("var/lib/k8sd/state")
    }

    /// Returns the path of the data in earlier snaps; now a link to the data, for those who know
    /// that path.
    pub fn documented(&self) -> PathBuf {
        self.data.join("var/data")
    }

    pub fn args(&self, service: &str) -> PathBuf {
        self.data.join("args").join(service)
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.snap.join("bin").join(name)
    }

    /// Makes the directories and the link that are missing.
    pub fn prepare(&self) -> Result<(), HookError> {
        for (dir, mode) in [
            (self.storage(), 0o700),
            (self.manager(), 0o711),
            (self.data.join("args"), 0o700),
            (self.data.join("var"), 0o755),
        ] {
            let made = DirBuilder::new().recursive(true).mode(mode).create(&dir);
            made.map_err(HookError::file(dir))?;
        }
        let link = self.documented();
        match fs::symlink_metadata(&link) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                symlink(LINK, &link).map_err(HookError::file(link))
            }
            Err(error) => Err(HookError::file(link)(error)),
            Ok(_) => Ok(()),
        }
    }
}

pub fn read(path: &Path) -> Result<Option<String>, HookError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(HookError::file(path)(error)),
    }
}

/// Replaces the file as a whole, readable by root only.
pub fn write(path: &Path, text: &str) -> Result<(), HookError> {
    let written = replace(path, text.as_bytes(), 0o600);
    written.map(drop).map_err(HookError::file(path))
}
