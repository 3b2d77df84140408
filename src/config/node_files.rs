//! `info.yaml` (this node) and `cluster.yaml` (all nodes), in the form that go-dqlite reads and writes.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{ConfigError, yaml};

pub(super) const INFO: &str = "info.yaml";
pub(super) const CLUSTER: &str = "cluster.yaml";

/// A file is written under this name, and then takes its own.
pub(super) const TEMPORARY: &str = ".k8s-dqlite.tmp";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NodeInfo {
    /// 0 where it is not known yet.
    #[serde(rename = "ID", default)]
    pub id: u64,
    pub address: String,
    /// 0 voter, 1 stand-by, 2 spare. As of the last time that somebody asked the leader.
    #[serde(default)]
    pub role: u8,
}

impl NodeInfo {
    pub fn new(id: u64, address: &str) -> Self {
        Self {
            id,
            address: address.to_owned(),
            role: 0,
        }
    }
}

pub(super) fn read_info(dir: &Path) -> Result<Option<NodeInfo>, ConfigError> {
    read(&dir.join(INFO))
}

pub(super) fn read_cluster(dir: &Path) -> Result<Option<Vec<NodeInfo>>, ConfigError> {
    read(&dir.join(CLUSTER))
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, ConfigError> {
    let Some(text) = yaml::read(path)? else {
        return Ok(None);
    };
    let reason =
        "the file is empty, which happens when the disk was full: restore it from a backup";
    let empty = || ConfigError::Invalid {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    Ok(Some(yaml::parse(path, &text)?.ok_or_else(empty)?))
}

pub(super) fn write(dir: &Path, name: &str, content: &impl Serialize) -> Result<(), ConfigError> {
    let path = dir.join(name);
    let text = serde_yaml::to_string(content).map_err(io::Error::other);
    text.and_then(|text| replace(dir, &path, text.as_bytes()))
        .map_err(|source| ConfigError::Unwritable { path, source })
}

/// After a crash at any time, the file has its old content or its new one.
fn replace(dir: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = dir.join(TEMPORARY);
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_dir(dir)
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_look_as_go_dqlite_writes_them() {
        let dir = tempfile::tempdir().unwrap();
        let node = NodeInfo::new(dqlite::node::BOOTSTRAP_ID, "127.0.0.1:9000");
        write(dir.path(), INFO, &node).unwrap();
        write(dir.path(), CLUSTER, &[&node]).unwrap();
        let info = fs::read_to_string(dir.path().join(INFO)).unwrap();
        assert_eq!(
            info,
            "ID: 3297041220608546238\nAddress: 127.0.0.1:9000\nRole: 0\n"
        );
        let cluster = fs::read_to_string(dir.path().join(CLUSTER)).unwrap();
        assert_eq!(
            cluster,
            "- ID: 3297041220608546238\n  Address: 127.0.0.1:9000\n  Role: 0\n"
        );
        let mode = fs::metadata(dir.path().join(INFO))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(read_info(dir.path()).unwrap(), Some(node.clone()));
        assert_eq!(read_cluster(dir.path()).unwrap(), Some(vec![node]));
        assert!(!dir.path().join(TEMPORARY).exists());
    }

    #[test]
    fn an_ipv6_address_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let node = NodeInfo::new(7, "[::1]:9000");
        write(dir.path(), INFO, &node).unwrap();
        let info = fs::read_to_string(dir.path().join(INFO)).unwrap();
        assert_eq!(info, "ID: 7\nAddress: '[::1]:9000'\nRole: 0\n");
        assert_eq!(read_info(dir.path()).unwrap(), Some(node));
    }
}
