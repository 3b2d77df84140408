//! Encryption of an object before it leaves this machine: AES-256-GCM in chunks, by OpenSSL.
//!
//! An object is sealed with the first key of a [`KeyRing`], and opened with the one that its header names: so keys can
//! change, and what the old ones sealed stays readable. The key of the ring seals nothing itself; of it, of the salt and of
//! the object's name a key is derived that seals this object alone. Numbers are big-endian.
//!
//! | Bytes | A sealed object |
//! |---|---|
//! | 8 | `k8sdqENC` |
//! | 1 | format, [`FORMAT`] |
//! | 1 | algorithm, 1: HKDF with SHA-256, and AES-256-GCM |
//! | 1 | binary logarithm of the bytes in a chunk, 16 |
//! | 5 | 0 |
//! | 8 | id of the key |
//! | 32 | salt, random for each object |
//! | 65,552 each | all chunks but the last: 65,536 bytes, encrypted, and their tag of 16 |
//! | 16 to 65,552 | the last chunk: what is left, encrypted, and its tag; without content only if the object has none |
//!
//! | Derived | By HKDF with SHA-256 from |
//! |---|---|
//! | the key of the object, 32 bytes | the key of the ring; as salt that of the object; as info the 24 bytes before the salt, then the SHA-256 of the context, which is the object's name |
//! | the id of a key, 8 bytes | the key; no salt; as info `k8s-dqlite key id` |
//!
//! The nonce of a chunk has 12 bytes: its number from 0 on in the first 11, then 1 for the last chunk and 0 for others. No
//! nonce is used twice with a key, because no two objects have a key in common: for that, two salts of 256 random bits would
//! have to be equal. There is no other authenticated data: whatever stands in the header is part of the derivation.
//!
//! So each of these fails to open: a changed byte, a chunk that is missing, repeated, or elsewhere, an end that is missing,
//! bytes behind the end, another header, an object under another name, and one of another key. What cannot be noticed is an object that is
//! not there, or an older one of the same name; the chain of an archive is for that.
//!
//! Pure, but for [`KeyRing::load`] and [`Salt::random`].

mod chunks;
mod header;
mod keys;
#[cfg(test)]
mod tests;

use openssl::{error::ErrorStack, rand::rand_bytes};

pub use self::{
    chunks::{Opener, Sealer},
    header::{HEADER_BYTES, is_sealed},
    keys::{KeyId, KeyRing},
};

/// The version of the header and of all that follows it.
pub const FORMAT: u8 = 1;

/// Bytes of content in a chunk, but for the last: what is held in memory, and what a tag is added to.
pub const CHUNK_BYTES: usize = 1 << CHUNK_BYTES_LOG2;
const CHUNK_BYTES_LOG2: u8 = 16;

/// Bytes of the tag of a chunk.
pub const TAG_BYTES: usize = 16;

const SALT_BYTES: usize = 32;

/// The random part of a header. It must be another for each object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salt(pub [u8; SALT_BYTES]);

impl Salt {
    pub fn random() -> Result<Self, EncryptionError> {
        let mut salt = [0; SALT_BYTES];
        rand_bytes(&mut salt)?;
        Ok(Self(salt))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum EncryptionError {
    #[error("it is not encrypted")]
    NotSealed,
    #[error("a newer k8s-dqlite encrypted it: use that version")]
    Newer,
    #[error("it is encrypted with key {0}, which is not among the keys that were given")]
    NoKey(KeyId),
    #[error(
        "it does not open with its key {0}: it was changed or cut off, or is not the object of that name"
    )]
    Changed(KeyId),
    #[error("its end is missing: it was cut off")]
    CutOff,
    #[error("OpenSSL: {0}")]
    OpenSsl(#[from] ErrorStack),
}

/// Returns how many bytes an object of this size has once it is sealed.
pub fn sealed_bytes(content_bytes: u64) -> u64 {
    let chunks = content_bytes.div_ceil(CHUNK_BYTES as u64).max(1);
    HEADER_BYTES as u64 + content_bytes + chunks * TAG_BYTES as u64
}

/// Returns how many bytes of content an object of this size has if it is sealed; none if it is too short for that.
pub fn content_bytes(sealed_bytes: u64) -> Option<u64> {
    let body = sealed_bytes.checked_sub(HEADER_BYTES as u64)?;
    let chunks = body.div_ceil((CHUNK_BYTES + TAG_BYTES) as u64).max(1);
    body.checked_sub(chunks * TAG_BYTES as u64)
}

impl KeyRing {
    /// Seals an object that is in memory.
    pub fn seal(
        &self,
        content: &[u8],
        context: &str,
        salt: Salt,
    ) -> Result<Vec<u8>, EncryptionError> {
        let mut sealed = Vec::with_capacity(sealed_bytes(content.len() as u64) as usize);
        let mut sealer = Sealer::begin(self, context, salt, &mut sealed)?;
        sealer.push(content, &mut sealed)?;
        sealer.finish(&mut sealed)?;
        Ok(sealed)
    }

    /// Opens an object that is in memory.
    pub fn open(&self, sealed: &[u8], context: &str) -> Result<Vec<u8>, EncryptionError> {
        let mut content = Vec::with_capacity(sealed.len());
        let mut opener = Opener::new(self, context);
        opener.push(sealed, &mut content)?;
        opener.finish(&mut content)?;
        Ok(content)
    }
}
