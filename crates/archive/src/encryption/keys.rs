//! Keys, and the file that holds them.
//!
//! The file is text: a key a line, as 64 hexadecimal digits. The first one seals; all of them open. A `#` and what follows it is a
//! comment; empty lines mean nothing.

use std::{fmt, path::Path};

use openssl::{error::ErrorStack, md::Md, pkey::Id, pkey_ctx::PkeyCtx};

use crate::secret_file::{self, SecretFileError};

pub(super) const KEY_BYTES: usize = 32;

/// Keys in a file: a new one each week for a year, and then some.
const MAX_KEYS: usize = 64;

const ID_INFO: &[u8] = b"k8s-dqlite key id";

/// The name of a key, which says nothing else about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(pub(super) [u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub id: KeyId,
    bytes: [u8; KEY_BYTES],
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

impl Key {
    fn new(bytes: [u8; KEY_BYTES]) -> Result<Self, ErrorStack> {
        let mut key = Self {
            id: KeyId([0; 8]),
            bytes,
        };
        key.id = KeyId(derive(&key, &[], ID_INFO)?);
        Ok(key)
    }
}

/// Derives bytes from a key by HKDF with SHA-256.
pub(super) fn derive<const N: usize>(
    key: &Key,
    salt: &[u8],
    info: &[u8],
) -> Result<[u8; N], ErrorStack> {
    let mut context = PkeyCtx::new_id(Id::HKDF)?;
    context.derive_init()?;
    context.set_hkdf_md(Md::sha256())?;
    context.set_hkdf_key(&key.bytes)?;
    if !salt.is_empty() {
        context.set_hkdf_salt(salt)?;
    }
    context.add_hkdf_info(info)?;
    let mut derived = [0; N];
    context.derive(Some(&mut derived))?;
    Ok(derived)
}

/// Keys, of which the first one seals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRing {
    first: Key,
    others: Vec<Key>,
}

impl KeyRing {
    /// Reads a key file, which nobody but its owner may change, and nobody but its owner and group may read.
    pub fn load(path: &Path) -> Result<Self, SecretFileError> {
        let text = secret_file::read(path)?;
        Self::parse(&text).map_err(|reason| SecretFileError::content(path, reason))
    }

    /// Reads the content of a key file. The error says what is wrong with it, and repeats nothing of it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut keys: Vec<Key> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let digits = 2 * KEY_BYTES;
            let bytes = of_digits(line)
                .ok_or_else(|| format!("line {number} is no key of {digits} hexadecimal digits"))?;
            let key = Key::new(bytes).map_err(|error| format!("OpenSSL: {error}"))?;
            if keys.iter().any(|other| other.id == key.id) {
                return Err(format!("the key in line {number} is there twice"));
            }
            if keys.len() == MAX_KEYS {
                return Err(format!("it has more than {MAX_KEYS} keys"));
            }
            keys.push(key);
        }
        let mut keys = keys.into_iter();
        let first = keys.next().ok_or("it holds no key")?;
        let others = keys.collect();
        Ok(Self { first, others })
    }

    /// Returns the id of the key that seals.
    pub fn sealing_id(&self) -> KeyId {
        self.first.id
    }

    pub(super) fn first(&self) -> &Key {
        &self.first
    }

    pub(super) fn find(&self, id: KeyId) -> Option<&Key> {
        [&self.first]
            .into_iter()
            .chain(&self.others)
            .find(|key| key.id == id)
    }
}

fn of_digits(text: &str) -> Option<[u8; KEY_BYTES]> {
    let mut bytes = [0; KEY_BYTES];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}
