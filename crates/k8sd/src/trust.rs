//! The truststore: the members' certificates, in memory and as one file each.
//!
//! Invariants: a request is trusted if its certificate is, byte by byte, that of an entry, and valid; what is
//! read from the files never empties the store, and a damaged file changes nothing of its entry.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, RwLock},
    time::Duration,
};

use openssl::x509::X509;
use serde::{Deserialize, Serialize};
use tokio::{task::spawn_blocking, time::sleep};
use tracing::warn;

use crate::{
    Error,
    certificate::{check_name, is_valid_at, parse},
    state::{PUBLIC, StateDir, read, remove_file, write},
};

/// The time between two looks at the files: somebody who changes one waits for it. Some dozen are listed.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustEntry {
    pub name: String,
    pub address: String,
    /// PEM.
    pub certificate: String,
}

#[derive(Clone)]
struct LoadedEntry {
    entry: TrustEntry,
    der: Vec<u8>,
    /// Its file is to be written again.
    is_damaged: bool,
}

type Entries = BTreeMap<String, LoadedEntry>;

/// The values that show that a file has changed: time of change, inode, size.
type Mark = (i64, i64, u64, u64);

#[derive(Clone)]
pub struct Truststore {
    state: StateDir,
    /// Read by every request.
    entries: Arc<RwLock<Entries>>,
    /// The marks of the files as they were read last. Held while files are read or written.
    files: Arc<Mutex<BTreeMap<PathBuf, Mark>>>,
}

impl Truststore {
    pub fn load(state: &StateDir) -> Result<Self, Error> {
        let store = Self {
            state: state.clone(),
            entries: Arc::default(),
            files: Arc::default(),
        };
        match store.reload()? {
            Some(damage) if store.entries().is_empty() => Err(damage),
            _ => Ok(store),
        }
    }

    /// Reads the files again whenever they change, until it is dropped.
    pub async fn watch(&self) {
        loop {
            sleep(WATCH_INTERVAL).await;
            let store = self.clone();
            let reloaded = spawn_blocking(move || store.reload());
            if let Err(error) = reloaded.await.expect("reading does not panic") {
                warn!(%error, "the truststore cannot be read");
            }
        }
    }

    /// Reads the files if they have changed since the last time. Returns the error if one of them is damaged.
    /// Blocks.
    fn reload(&self) -> Result<Option<Error>, Error> {
        let mut seen = self.files.lock().expect("no panic while locked");
        let files = list(&self.state.truststore())?;
        if *seen == files {
            return Ok(None);
        }
        let before = self.entries.read().expect("no panic while locked").clone();
        let (mut found, mut damage) = (Entries::new(), None);
        for path in files.keys() {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            match read_entry(path, &stem) {
                Ok(Some(loaded)) => drop(found.insert(stem.into_owned(), loaded)),
                Ok(None) => {}
                Err(error) => {
                    warn!(%error, "ignoring a damaged file of the truststore: its entry stays as it was");
                    damage = Some(error);
                    if let Some(loaded) = before.get(&*stem) {
                        let is_damaged = true;
                        let loaded = loaded.clone();
                        found.insert(
                            stem.into_owned(),
                            LoadedEntry {
                                is_damaged,
                                ..loaded
                            },
                        );
                    }
                }
            }
        }
        if !found.is_empty() {
            *self.entries.write().expect("no panic while locked") = found;
        }
        *seen = files;
        Ok(damage)
    }

    pub fn entries(&self) -> Vec<TrustEntry> {
        let entries = self.entries.read().expect("no panic while locked");
        entries
            .values()
            .map(|loaded| loaded.entry.clone())
            .collect()
    }

    /// Returns the entries whose files are sound.
    fn sound(&self) -> Vec<TrustEntry> {
        let entries = self.entries.read().expect("no panic while locked");
        let sound = entries.values().filter(|loaded| {
            // A file that was deleted while nothing else was left is still in memory.
            !loaded.is_damaged && self.path(&loaded.entry.name).exists()
        });
        sound.map(|loaded| loaded.entry.clone()).collect()
    }

    /// Replaces all entries by these. New files are written before old ones are deleted. Blocks.
    pub fn replace(&self, entries: Vec<TrustEntry>) -> Result<(), Error> {
        if entries.is_empty() {
            return Err(Error::Internal(
                "refused to empty the truststore: nobody would be trusted".to_owned(),
            ));
        }
        let (old, sound) = (self.entries(), self.sound());
        for entry in &entries {
            if !sound.contains(entry) {
                self.add(entry.clone())?;
            }
        }
        for gone in old
            .iter()
            .filter(|old| entries.iter().all(|new| new.name != old.name))
        {
            self.remove(&gone.name)?;
        }
        Ok(())
    }

    pub fn add(&self, entry: TrustEntry) -> Result<(), Error> {
        let name = entry.name.clone();
        check_name(&name)?;
        let text = serde_yaml::to_string(&entry).map_err(|e| Error::Internal(e.to_string()))?;
        let loaded = loaded(entry)?;
        let _files = self.files.lock().expect("no panic while locked");
        write(&self.path(&name), text.as_bytes(), PUBLIC)?;
        self.entries
            .write()
            .expect("no panic while locked")
            .insert(name, loaded);
        Ok(())
    }

    pub fn remove(&self, name: &str) -> Result<(), Error> {
        check_name(name)?;
        let _files = self.files.lock().expect("no panic while locked");
        self.entries
            .write()
            .expect("no panic while locked")
            .remove(name);
        remove_file(&self.path(name))
    }

    /// Returns the name of the member whose certificate this is.
    pub fn member(&self, certificate: &X509, now_s: i64) -> Option<String> {
        let der = certificate.to_der().ok()?;
        let entries = self.entries.read().expect("no panic while locked");
        let (name, _) = entries.iter().find(|(_, loaded)| loaded.der == der)?;
        is_valid_at(certificate, now_s).then(|| name.clone())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.state.truststore().join(format!("{name}.yaml"))
    }
}

fn loaded(entry: TrustEntry) -> Result<LoadedEntry, Error> {
    Ok(LoadedEntry {
        der: parse(&entry.certificate)?.to_der()?,
        entry,
        is_damaged: false,
    })
}

fn list(dir: &Path) -> Result<BTreeMap<PathBuf, Mark>, Error> {
    let mut files = BTreeMap::new();
    for file in fs::read_dir(dir).map_err(Error::file(dir))? {
        let path = file.map_err(Error::file(dir))?.path();
        // One that goes meanwhile is not there.
        if path.extension().is_some_and(|ending| ending == "yaml")
            && let Ok(metadata) = fs::metadata(&path)
        {
            let mark = (
                metadata.mtime(),
                metadata.mtime_nsec(),
                metadata.ino(),
                metadata.size(),
            );
            files.insert(path, mark);
        }
    }
    Ok(files)
}

fn read_entry(path: &Path, stem: &str) -> Result<Option<LoadedEntry>, Error> {
    let damaged = |reason: String| Error::Damaged {
        path: path.to_owned(),
        reason,
    };
    let Some(text) = read(path)? else {
        return Ok(None);
    };
    let entry: TrustEntry = serde_yaml::from_str(dqlite::files::without_mark(&text))
        .map_err(|error| damaged(error.to_string()))?;
    if entry.name != stem {
        return Err(damaged(format!("it names {:?}", entry.name)));
    }
    loaded(entry)
        .map(Some)
        .map_err(|error| damaged(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::generate;

    const NOW_S: i64 = 1_700_000_000;

    fn entry(name: &str) -> TrustEntry {
        TrustEntry {
            name: name.to_owned(),
            address: "10.0.0.1:6400".to_owned(),
            certificate: generate(name, NOW_S).unwrap().certificate,
        }
    }

    #[test]
    fn a_certificate_is_trusted_while_its_entry_is_there_and_it_is_valid() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        state.create().unwrap();
        let store = Truststore::load(&state).unwrap();
        let (one, two) = (entry("node1"), entry("node2"));
        store.add(one.clone()).unwrap();
        let certificate = parse(&one.certificate).unwrap();
        let other = parse(&generate("node1", NOW_S).unwrap().certificate).unwrap();
        assert_eq!(store.member(&certificate, NOW_S).as_deref(), Some("node1"));
        assert_eq!(store.member(&certificate, NOW_S - 1000), None);
        assert_eq!(store.member(&other, NOW_S), None);
        store.replace(vec![two.clone()]).unwrap();
        assert_eq!(store.member(&certificate, NOW_S), None);
        assert_eq!(Truststore::load(&state).unwrap().entries(), [two]);
        assert!(store.replace(vec![]).is_err());
    }

    #[test]
    fn a_file_has_microclusters_bytes_and_others_are_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        state.create().unwrap();
        let store = Truststore::load(&state).unwrap();
        let one = entry("node1");
        store.add(one.clone()).unwrap();
        let indented = one.certificate.trim_end().replace('\n', "\n  ");
        assert_eq!(
            fs::read_to_string(store.path("node1")).unwrap(),
            format!("name: node1\naddress: 10.0.0.1:6400\ncertificate: |\n  {indented}\n")
        );
        fs::write(state.truststore().join("notes"), "?").unwrap();
        fs::remove_file(store.path("node1")).unwrap();
        store.reload().unwrap();
        assert_eq!(
            store.entries(),
            std::slice::from_ref(&one),
            "a reload that finds nothing keeps what was there"
        );
        store.replace(vec![one]).unwrap();
        assert!(store.path("node1").exists());
        assert!(
            store
                .add(TrustEntry {
                    name: "../x".to_owned(),
                    ..entry("x")
                })
                .is_err()
        );
    }

    #[test]
    fn a_changed_file_counts_and_a_damaged_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        state.create().unwrap();
        let store = Truststore::load(&state).unwrap();
        let (one, two) = (entry("node1"), entry("node2"));
        store.add(one.clone()).unwrap();
        // Another program's work.
        let text = serde_yaml::to_string(&two).unwrap();
        fs::write(store.path("node2"), text).unwrap();
        store.reload().unwrap();
        assert_eq!(store.entries(), [one.clone(), two.clone()]);
        for damage in ["", "name: node2", "name: node1\naddress: x\ncertificate: x"] {
            fs::write(store.path("node2"), damage).unwrap();
            assert!(store.reload().unwrap().is_some(), "{damage}");
            assert_eq!(store.entries(), [one.clone(), two.clone()], "{damage}");
        }
        store.replace(vec![one.clone(), two.clone()]).unwrap();
        let again = Truststore::load(&state).unwrap();
        assert_eq!(again.entries(), [one.clone(), two.clone()]);
        let text = serde_yaml::to_string(&two).unwrap();
        fs::write(store.path("node9"), text).unwrap();
        assert!(store.reload().unwrap().is_some(), "another one's name");
        assert_eq!(store.entries(), [one, two]);
    }

    #[test]
    fn a_store_of_damaged_files_alone_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        state.create().unwrap();
        fs::write(state.truststore().join("node1.yaml"), "?").unwrap();
        assert!(Truststore::load(&state).is_err());
    }
}
