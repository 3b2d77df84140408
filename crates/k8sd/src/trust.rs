//! Who is trusted: the members' certificates, in memory and as one file each.
//!
//! Invariants: a request is trusted if its certificate is, byte by byte, that of an entry, and valid; a
//! reload that finds nothing keeps what was there.

use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, RwLock},
};

use openssl::x509::X509;
use serde::{Deserialize, Serialize};

use crate::{
    Error,
    certificate::{check_name, is_valid_at, parse},
    state::{PUBLIC, StateDir, read, remove_file, write},
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustEntry {
    pub name: String,
    pub address: String,
    /// PEM.
    pub certificate: String,
}

#[derive(Default)]
struct Known {
    entry: Option<TrustEntry>,
    der: Vec<u8>,
}

/// Written by one task at a time; read by every request.
#[derive(Clone)]
pub struct Truststore {
    state: StateDir,
    known: Arc<RwLock<BTreeMap<String, Known>>>,
}

impl Truststore {
    pub fn load(state: &StateDir) -> Result<Self, Error> {
        let store = Self {
            state: state.clone(),
            known: Arc::default(),
        };
        store.reload()?;
        Ok(store)
    }

    pub fn reload(&self) -> Result<(), Error> {
        let dir = self.state.truststore();
        let mut found = BTreeMap::new();
        for file in fs::read_dir(&dir).map_err(Error::file(&dir))? {
            let path = file.map_err(Error::file(&dir))?.path();
            if path.extension().is_none_or(|ending| ending != "yaml") {
                continue;
            }
            let damaged = |reason: String| Error::Damaged {
                path: path.clone(),
                reason,
            };
            let Some(text) = read(&path)? else { continue };
            let entry: TrustEntry =
                serde_yaml::from_str(&text).map_err(|error| damaged(error.to_string()))?;
            let known = known(entry).map_err(|error| damaged(error.to_string()))?;
            found.insert(
                path.file_stem()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
                known,
            );
        }
        if !found.is_empty() {
            *self.known.write().expect("no panic while locked") = found;
        }
        Ok(())
    }

    pub fn entries(&self) -> Vec<TrustEntry> {
        let known = self.known.read().expect("no panic while locked");
        known
            .values()
            .filter_map(|known| known.entry.clone())
            .collect()
    }

    /// Exactly these from now on. New files come before old ones go. Blocks.
    pub fn replace(&self, entries: Vec<TrustEntry>) -> Result<(), Error> {
        if entries.is_empty() {
            return Err(Error::Internal("nobody would be trusted".to_owned()));
        }
        let old = self.entries();
        for entry in &entries {
            if !old.contains(entry) {
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
        let known = known(entry)?;
        write(&self.path(&name), text.as_bytes(), PUBLIC)?;
        self.known
            .write()
            .expect("no panic while locked")
            .insert(name, known);
        Ok(())
    }

    pub fn remove(&self, name: &str) -> Result<(), Error> {
        check_name(name)?;
        self.known
            .write()
            .expect("no panic while locked")
            .remove(name);
        remove_file(&self.path(name))
    }

    /// The member whose certificate this is.
    pub fn member(&self, certificate: &X509, now_s: i64) -> Option<String> {
        let der = certificate.to_der().ok()?;
        let known = self.known.read().expect("no panic while locked");
        let (name, _) = known.iter().find(|(_, known)| known.der == der)?;
        is_valid_at(certificate, now_s).then(|| name.clone())
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.state.truststore().join(format!("{name}.yaml"))
    }
}

fn known(entry: TrustEntry) -> Result<Known, Error> {
    Ok(Known {
        der: parse(&entry.certificate)?.to_der()?,
        entry: Some(entry),
    })
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
            [one],
            "a reload that finds nothing keeps what was there"
        );
        assert!(
            store
                .add(TrustEntry {
                    name: "../x".to_owned(),
                    ..entry("x")
                })
                .is_err()
        );
    }
}
