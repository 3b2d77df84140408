//! The header of a sealed object.

use openssl::{error::ErrorStack, sha::sha256};

use super::{
    CHUNK_BYTES_LOG2, EncryptionError, FORMAT, SALT_BYTES, Salt,
    keys::{KEY_BYTES, Key, KeyId, derive},
};

const MAGIC: [u8; 8] = *b"k8sdqENC";
const ALGORITHM: u8 = 1;

/// Magic, format, algorithm, size of chunks, zeros, id of the key.
const BEFORE_SALT_BYTES: usize = 8 + 1 + 1 + 1 + 5 + 8;

pub const HEADER_BYTES: usize = BEFORE_SALT_BYTES + SALT_BYTES;

/// Returns whether an object begins like a sealed one.
pub fn is_sealed(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub key: KeyId,
    pub salt: Salt,
}

impl Header {
    fn before_salt(self) -> [u8; BEFORE_SALT_BYTES] {
        let mut bytes = [0; BEFORE_SALT_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8] = FORMAT;
        bytes[9] = ALGORITHM;
        bytes[10] = CHUNK_BYTES_LOG2;
        bytes[16..].copy_from_slice(&self.key.0);
        bytes
    }

    pub fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..BEFORE_SALT_BYTES].copy_from_slice(&self.before_salt());
        bytes[BEFORE_SALT_BYTES..].copy_from_slice(&self.salt.0);
        bytes
    }

    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, EncryptionError> {
        if !is_sealed(bytes) {
            return Err(EncryptionError::NotSealed);
        }
        let (before, salt) = bytes.split_at(BEFORE_SALT_BYTES);
        let mut header = Self {
            key: KeyId([0; 8]),
            salt: Salt([0; SALT_BYTES]),
        };
        header.key.0.copy_from_slice(&before[16..]);
        header.salt.0.copy_from_slice(salt);
        match header.before_salt() == before {
            true => Ok(header),
            false => Err(EncryptionError::Newer),
        }
    }

    /// Derives the key of the object.
    pub fn object_key(self, key: &Key, context: &str) -> Result<[u8; KEY_BYTES], ErrorStack> {
        let mut info = self.before_salt().to_vec();
        info.extend_from_slice(&sha256(context.as_bytes()));
        derive(key, &self.salt.0, &info)
    }
}
