//! The state directory, laid out as microcluster's: either can take over the other's.
//!
//! Invariants: a file is there as a whole or not at all, with its mode from its first byte on; private
//! keys are 0600.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use dqlite::files;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

use crate::{Error, copy::Owner};

/// The largest file that is read, in bytes: certificates and names, some KiB.
const MAX_FILE_BYTES: u64 = 1 << 20;

pub const PUBLIC: u32 = 0o644;
pub const PRIVATE: u32 = 0o600;

/// The path of a state directory, and of all in it.
#[derive(Debug, Clone)]
pub struct StateDir {
    root: PathBuf,
}

/// daemon.yaml: there once the node is part of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonFile {
    pub name: String,
    /// `ip:port`
    pub address: String,
    /// Listeners beside the first; kept as they are.
    #[serde(default)]
    pub servers: BTreeMap<String, serde_yaml::Value>,
}

impl StateDir {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Makes what is missing of the directories.
    pub fn create(&self) -> Result<(), Error> {
        make_dir(&self.root, 0o711)?;
        for dir in [self.database(), self.truststore(), self.certificates()] {
            make_dir(&dir, 0o700)?;
        }
        Ok(())
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn control_socket(&self) -> PathBuf {
        self.root.join("control.socket")
    }

    /// Returns whether a daemon runs on this directory. A socket that cannot be reached for another reason counts as
    /// yes.
    pub async fn is_served(&self) -> bool {
        match UnixStream::connect(self.control_socket()).await {
            Ok(_) => true,
            Err(error) => !matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ),
        }
    }

    pub fn database(&self) -> PathBuf {
        self.root.join("database")
    }

    pub fn truststore(&self) -> PathBuf {
        self.root.join("truststore")
    }

    fn certificates(&self) -> PathBuf {
        self.root.join("certificates")
    }

    /// SQL that is run once, by the next daemon that opens the database.
    pub fn patch(&self) -> PathBuf {
        self.root.join("patch.global.sql")
    }

    /// Replaces the patch, and gives it to the user to whom the database belongs.
    pub(crate) fn write_patch(&self, sql: &str) -> Result<(), Error> {
        let (path, owner) = (self.patch(), Owner::of(&self.database())?);
        let written = files::replace(&path, sql.as_bytes(), PRIVATE);
        let given = written.and_then(|file| owner.give(&file));
        given.map_err(Error::file(path))
    }

    fn daemon_file(&self) -> PathBuf {
        self.root.join("daemon.yaml")
    }

    /// `server` or `cluster`: certificate and key.
    pub fn pair(&self, name: &str) -> (PathBuf, PathBuf) {
        let path = |ending| self.root.join(format!("{name}.{ending}"));
        (path("crt"), path("key"))
    }

    /// Reads daemon.yaml, which every member has.
    pub fn read_member(&self) -> Result<DaemonFile, Error> {
        self.read_daemon()?.ok_or_else(|| {
            Error::Invalid(format!(
                "{} is not the state directory of a member: it has no daemon.yaml",
                self.root().display()
            ))
        })
    }

    pub fn read_daemon(&self) -> Result<Option<DaemonFile>, Error> {
        let path = self.daemon_file();
        let Some(text) = read(&path)? else {
            return Ok(None);
        };
        let file =
            serde_yaml::from_str(files::without_mark(&text)).map_err(|error| Error::Damaged {
                path,
                reason: error.to_string(),
            })?;
        Ok(Some(file))
    }

    pub fn write_daemon(&self, file: &DaemonFile) -> Result<(), Error> {
        let text = serde_yaml::to_string(file).map_err(|e| Error::Internal(e.to_string()))?;
        write(&self.daemon_file(), text.as_bytes(), PUBLIC)
    }

    /// Another address in daemon.yaml; what else is in it stays, known or not.
    pub fn move_daemon(&self, address: &str) -> Result<(), Error> {
        let path = self.daemon_file();
        let text = read(&path)?.unwrap_or_default();
        let parsed: Result<serde_yaml::Mapping, _> =
            serde_yaml::from_str(files::without_mark(&text));
        let mut file = parsed.map_err(|error| Error::Damaged {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        if file.get("address").and_then(|old| old.as_str()) == Some(address) {
            return Ok(());
        }
        file.insert("address".into(), address.into());
        let text = serde_yaml::to_string(&file).map_err(|e| Error::Internal(e.to_string()))?;
        write(&path, text.as_bytes(), PUBLIC)
    }

    /// Forgets the cluster, so that the node can become part of another one. daemon.yaml goes first: what
    /// a crash leaves is never a node that believes in a membership it has lost.
    pub fn reset(&self) -> Result<(), Error> {
        remove_file(&self.daemon_file())?;
        // It was for the cluster that is left.
        remove_file(&self.patch())?;
        for dir in [self.database(), self.truststore()] {
            match fs::remove_dir_all(&dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::file(dir)(error));
                }
                _ => {}
            }
        }
        let (certificate, key) = self.pair("cluster");
        remove_file(&certificate)?;
        remove_file(&key)?;
        self.create()
    }
}

fn make_dir(path: &Path, mode: u32) -> Result<(), Error> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(Error::file(path))?;
    // The mask of the process may have taken bits away.
    let permissions = fs::Permissions::from_mode(mode);
    fs::set_permissions(path, permissions).map_err(Error::file(path))
}

pub(crate) fn read(path: &Path) -> Result<Option<String>, Error> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(Error::file(path))?,
    };
    let mut text = String::new();
    let bytes = file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text);
    if bytes.map_err(Error::file(path))? as u64 > MAX_FILE_BYTES {
        return Err(Error::Damaged {
            path: path.to_owned(),
            reason: format!("has more than {MAX_FILE_BYTES} bytes"),
        });
    }
    Ok(Some(text))
}

/// Replaces the file. Once this returns, it survives a power failure; one writer at a time.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let written = files::replace(path, bytes, mode);
    written.map(drop).map_err(Error::file(path))
}

pub(crate) fn remove_file(path: &Path) -> Result<(), Error> {
    let removed = files::remove_if_there(path);
    removed.map(drop).map_err(Error::file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn directories_and_files_have_microclusters_modes() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path().join("state"));
        state.create().unwrap();
        assert_eq!(mode(state.root()), 0o711);
        assert_eq!(mode(&state.database()), 0o700);
        assert_eq!(mode(&state.truststore()), 0o700);
        let path = state.pair("server").1;
        write(&path, b"key", PRIVATE).unwrap();
        write(&path, b"another", PRIVATE).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(read(&path).unwrap().unwrap(), "another");
    }

    #[test]
    fn daemon_yaml_has_microclusters_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        assert_eq!(state.read_daemon().unwrap(), None);
        for (address, yaml) in [
            ("10.0.0.1:6400", "10.0.0.1:6400"),
            ("[::1]:6400", "'[::1]:6400'"),
        ] {
            let file = DaemonFile {
                name: "node1".to_owned(),
                address: address.to_owned(),
                servers: BTreeMap::new(),
            };
            state.write_daemon(&file).unwrap();
            let text = fs::read_to_string(state.daemon_file()).unwrap();
            assert_eq!(
                text,
                format!("name: node1\naddress: {yaml}\nservers: {{}}\n")
            );
            assert_eq!(state.read_daemon().unwrap(), Some(file));
        }
    }

    #[test]
    fn a_new_address_leaves_the_rest_of_daemon_yaml() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        let text = "name: node1\naddress: 10.0.0.1:6400\nservers: {}\nfailure-domain: 7\n";
        write(&state.daemon_file(), text.as_bytes(), PUBLIC).unwrap();
        state.move_daemon("10.0.0.2:6400").unwrap();
        let moved = fs::read_to_string(state.daemon_file()).unwrap();
        assert_eq!(moved, text.replace("10.0.0.1", "10.0.0.2"));
    }

    #[test]
    fn a_reset_leaves_the_nodes_own_pair_and_empty_directories() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        state.create().unwrap();
        for path in [
            state.pair("server").1,
            state.pair("cluster").1,
            state.database().join("info.yaml"),
            state.truststore().join("node1.yaml"),
            state.daemon_file(),
            state.patch(),
        ] {
            write(&path, b"x", PRIVATE).unwrap();
        }
        state.reset().unwrap();
        assert!(state.pair("server").1.exists());
        assert!(!state.pair("cluster").1.exists());
        assert!(!state.daemon_file().exists());
        assert!(!state.patch().exists());
        assert_eq!(fs::read_dir(state.database()).unwrap().count(), 0);
        assert_eq!(fs::read_dir(state.truststore()).unwrap().count(), 0);
    }
}
