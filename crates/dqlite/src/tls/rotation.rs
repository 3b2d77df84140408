//! The pair of a node while it is replaced: one file says how far that is, and follows from nothing else.
//!
//! | Step | `cluster.key` | `cluster.crt` |
//! |---|---|---|
//! | trust | the former | the former, then the new |
//! | use | the new | the new, then the former |
//!
//! Invariant: the file is replaced first, in one step; cluster.crt and cluster.key follow from it, and are made anew by
//! [`Rotation::settle`] after a crash in between.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Pair, TlsError};
use crate::files::{FILE_BYTES_MAX, FileError, read_text, remove_file, replace};

/// Holds private keys: readable by its owner only.
pub const ROTATION_FILE: &str = "cluster-rotation.yaml";

pub(super) const CERTIFICATE: &str = "cluster.crt";
pub(super) const KEY: &str = "cluster.key";

const KEY_MODE: u32 = 0o600;
const CERTIFICATE_MODE: u32 = 0o644;

/// A certificate, with its chain, and its key, in PEM.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PemPair {
    pub certificate: String,
    pub key: String,
}

impl PemPair {
    /// Reads cluster.crt and cluster.key of a storage directory.
    pub fn read(dir: &Path) -> io::Result<Self> {
        Ok(Self {
            certificate: fs::read_to_string(dir.join(CERTIFICATE))?,
            key: fs::read_to_string(dir.join(KEY))?,
        })
    }

    /// Parses both, and checks that they are a pair. `name` is for errors.
    pub fn open(&self, name: &str) -> Result<Pair, TlsError> {
        let (certificate, key) = (
            format!("{name} (certificate)"),
            format!("{name} (private key)"),
        );
        Pair::from_pem(
            (Path::new(&certificate), self.certificate.as_bytes()),
            (Path::new(&key), self.key.as_bytes()),
        )
    }

    /// Returns this pair, with the certificates of another one behind its own.
    pub fn trusting(&self, other: &PemPair) -> Self {
        let own = self.certificate.trim_end();
        Self {
            certificate: format!("{own}\n{}\n", other.certificate.trim()),
            key: self.key.clone(),
        }
    }

    /// Writes cluster.crt and cluster.key as far as they are different, with the modes and owners that they have.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        write(&dir.join(KEY), &self.key, KEY_MODE)?;
        write(&dir.join(CERTIFICATE), &self.certificate, CERTIFICATE_MODE)
    }
}

/// The key is not shown.
impl fmt::Debug for PemPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PemPair").finish_non_exhaustive()
    }
}

/// A file that is a link stays one: the one that it names is replaced.
fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let path: PathBuf = match path.canonicalize() {
        Err(error) if error.kind() == ErrorKind::NotFound => path.to_owned(),
        found => found?,
    };
    let former = match fs::metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        found => Some(found?),
    };
    if former.is_some() && fs::read(&path)? == text.as_bytes() {
        return Ok(());
    }
    let mode = former.as_ref().map_or(mode, |it| it.mode() & 0o7777);
    replace(&path, text.as_bytes(), mode).map(drop)
}

/// The last step of a node on its way to a new pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RotationStep {
    /// It trusts the new pair, and shows the former one.
    Trust,
    /// It shows the new pair, and trusts the former one.
    Use,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Rotation {
    pub step: RotationStep,
    pub new: PemPair,
    pub former: PemPair,
}

impl Rotation {
    /// Reads the state of a node's rotation; `None` where there is none.
    pub fn read(dir: &Path) -> Result<Option<Self>, FileError> {
        let path = dir.join(ROTATION_FILE);
        let Some(text) = read_text(&path)? else {
            return Ok(None);
        };
        let parsed = serde_yaml::from_str(&text);
        // The text of the error could have a part of a key in it.
        let damaged = |_| FileError::damaged(&path, "it is not as this program writes it");
        parsed.map(Some).map_err(damaged)
    }

    /// Returns what cluster.crt and cluster.key hold at this step.
    pub fn files(&self) -> PemPair {
        match self.step {
            RotationStep::Trust => self.former.trusting(&self.new),
            RotationStep::Use => self.new.trusting(&self.former),
        }
    }

    /// Returns whether [`read`](Self::read) will take what [`store`](Self::store) writes.
    pub fn is_readable(&self) -> bool {
        serde_yaml::to_string(self).is_ok_and(|text| text.len() as u64 <= FILE_BYTES_MAX)
    }

    /// Makes this the state of the node, on its disk.
    pub fn store(&self, dir: &Path) -> io::Result<()> {
        let text = serde_yaml::to_string(self).map_err(io::Error::other)?;
        replace(&dir.join(ROTATION_FILE), text.as_bytes(), KEY_MODE)?;
        self.files().write(dir)
    }

    /// Finishes what a crash cut short.
    pub fn settle(&self, dir: &Path) -> io::Result<()> {
        self.files().write(dir)
    }

    /// Returns whether somebody has replaced cluster.key: it is none that a step, or a crash in one, leaves. The new one is
    /// not there before this file says so.
    pub fn is_foreign(&self, dir: &Path) -> io::Result<bool> {
        let found = match fs::read_to_string(dir.join(KEY)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            found => found?,
        };
        let may_be_new = self.step == RotationStep::Use;
        Ok(found != self.former.key && !(may_be_new && found == self.new.key))
    }

    /// Leaves this pair alone in the directory, and ends the rotation.
    pub fn end(dir: &Path, pair: &PemPair) -> Result<(), FileError> {
        pair.write(dir)
            .map_err(FileError::io("write", &dir.join(CERTIFICATE)))?;
        remove_file(&dir.join(ROTATION_FILE))
    }
}
