//! The directory that becomes a node's.

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use dqlite::{files::sync_dir, node::DirLock};

use super::RestoreError;
use crate::{
    address::NodeAddress,
    config::{self, ConfigError, RESTORING},
};

#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    address: NodeAddress,
}

impl Directory {
    /// Marks the directory as one that is being restored. What an interrupted restore left is deleted;
    /// anything else of a node is refused.
    pub fn prepare(
        path: &Path,
        address: Option<&NodeAddress>,
    ) -> Result<(Self, DirLock), RestoreError> {
        let unwritable = |source| ConfigError::Unwritable {
            path: path.to_owned(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(unwritable)?;
        let lock = DirLock::acquire(path)?;
        let address = choose_address(path, address)?;
        config::prepare_restore(path)?;
        let directory = Self {
            path: path.to_owned(),
            address,
        };
        Ok((directory, lock))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn address(&self) -> &NodeAddress {
        &self.address
    }

    /// Removes the mark: all is written, and a server may start.
    pub fn finish(&self) -> Result<(), ConfigError> {
        let mark = self.path.join(RESTORING);
        let unwritable = |source| ConfigError::Unwritable {
            path: mark.clone(),
            source,
        };
        fs::remove_file(&mark).map_err(unwritable)?;
        sync_dir(&self.path).map_err(unwritable)
    }
}

/// The flag, or init.yaml.
pub fn choose_address(dir: &Path, flag: Option<&NodeAddress>) -> Result<NodeAddress, ConfigError> {
    let file = config::init_address(dir)?;
    match (flag, file) {
        (Some(flag), Some(file)) if *flag != file => Err(ConfigError::Invalid {
            path: dir.join("init.yaml"),
            reason: format!("its Address is {file}, but --address is {flag}"),
        }),
        (Some(address), _) => Ok(address.clone()),
        (None, Some(address)) => Ok(address),
        (None, None) => Err(ConfigError::Invalid {
            path: dir.to_owned(),
            reason:
                "there is no init.yaml: say with --address where the node will listen, such as \
                     --address 127.0.0.1:29001"
                    .to_owned(),
        }),
    }
}
