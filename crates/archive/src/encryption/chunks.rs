//! Sealing and opening an object piece by piece.

use openssl::{cipher::Cipher, cipher_ctx::CipherCtx, error::ErrorStack};

use super::{
    CHUNK_BYTES, EncryptionError, HEADER_BYTES, KeyId, KeyRing, Salt, TAG_BYTES, header::Header,
};

const NONCE_BYTES: usize = 12;

/// The nonces of an object, each of which is used once.
#[derive(Default)]
struct Nonces(u64);

impl Nonces {
    fn next(&mut self, is_last: bool) -> [u8; NONCE_BYTES] {
        let mut nonce = [0; NONCE_BYTES];
        nonce[3..11].copy_from_slice(&self.0.to_be_bytes());
        nonce[11] = u8::from(is_last);
        self.0 += 1;
        nonce
    }
}

/// Seals an object whose content comes in pieces. It holds one chunk.
pub struct Sealer {
    cipher: CipherCtx,
    nonces: Nonces,
    /// Content that is not sealed yet, at most one chunk: whether it is the last one is not known.
    held: Vec<u8>,
}

impl Sealer {
    /// Begins an object, and adds its header to `out`. The salt must not have been used before.
    pub fn begin(
        ring: &KeyRing,
        context: &str,
        salt: Salt,
        out: &mut Vec<u8>,
    ) -> Result<Self, EncryptionError> {
        let key = ring.first();
        let header = Header { key: key.id, salt };
        let object_key = header.object_key(key, context)?;
        let mut cipher = CipherCtx::new()?;
        cipher.encrypt_init(Some(Cipher::aes_256_gcm()), Some(&object_key), None)?;
        out.extend_from_slice(&header.encode());
        Ok(Self {
            cipher,
            nonces: Nonces::default(),
            held: Vec::with_capacity(CHUNK_BYTES),
        })
    }

    /// Adds to `out` what can be sealed once this content is known as well.
    pub fn push(&mut self, mut content: &[u8], out: &mut Vec<u8>) -> Result<(), EncryptionError> {
        while !content.is_empty() {
            if self.held.len() == CHUNK_BYTES {
                self.seal(false, out)?;
            }
            let room = CHUNK_BYTES - self.held.len();
            let (piece, rest) = content.split_at(room.min(content.len()));
            self.held.extend_from_slice(piece);
            content = rest;
        }
        Ok(())
    }

    /// Adds the end of the object to `out`.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), EncryptionError> {
        Ok(self.seal(true, out)?)
    }

    fn seal(&mut self, is_last: bool, out: &mut Vec<u8>) -> Result<(), ErrorStack> {
        let nonce = self.nonces.next(is_last);
        self.cipher.encrypt_init(None, None, Some(&nonce))?;
        self.cipher.cipher_update_vec(&self.held, out)?;
        self.cipher.cipher_final_vec(out)?;
        let mut tag = [0; TAG_BYTES];
        self.cipher.tag(&mut tag)?;
        out.extend_from_slice(&tag);
        self.held.clear();
        Ok(())
    }
}

/// Opens an object that comes in pieces. It holds one chunk.
///
/// The content that it gives before [`Opener::finish`] succeeds is perhaps not all.
pub struct Opener {
    ring: KeyRing,
    context: String,
    opened: Option<Opened>,
    /// Bytes that are not opened yet: of the header, or at most one chunk.
    held: Vec<u8>,
}

struct Opened {
    cipher: CipherCtx,
    nonces: Nonces,
    key: KeyId,
}

impl Opener {
    pub fn new(ring: &KeyRing, context: &str) -> Self {
        Self {
            ring: ring.clone(),
            context: context.to_owned(),
            opened: None,
            held: Vec::new(),
        }
    }

    /// Adds to `out` what can be opened once these bytes are known as well.
    pub fn push(&mut self, mut sealed: &[u8], out: &mut Vec<u8>) -> Result<(), EncryptionError> {
        while !sealed.is_empty() {
            let wanted = match &mut self.opened {
                None => HEADER_BYTES,
                Some(opened) => {
                    // More comes, so this one was not the last.
                    if self.held.len() == CHUNK_BYTES + TAG_BYTES {
                        opened.open(&mut self.held, false, out)?;
                    }
                    CHUNK_BYTES + TAG_BYTES
                }
            };
            let room = wanted - self.held.len();
            let (piece, rest) = sealed.split_at(room.min(sealed.len()));
            self.held.extend_from_slice(piece);
            sealed = rest;
            if self.opened.is_none() && self.held.len() == HEADER_BYTES {
                self.opened = Some(self.read_header()?);
                self.held.clear();
            }
        }
        Ok(())
    }

    /// Adds the end of the content to `out`; only now it is known that nothing is missing.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), EncryptionError> {
        let Some(opened) = &mut self.opened else {
            return Err(match super::is_sealed(&self.held) {
                true => EncryptionError::CutOff,
                false => EncryptionError::NotSealed,
            });
        };
        match self.held.len() {
            0..TAG_BYTES => Err(EncryptionError::CutOff),
            // Of an object that was cut off between two chunks this is a chunk, and not the last one.
            _ => opened.open(&mut self.held, true, out),
        }
    }

    fn read_header(&self) -> Result<Opened, EncryptionError> {
        let bytes = self.held.first_chunk().ok_or(EncryptionError::CutOff)?;
        let header = Header::parse(bytes)?;
        let key = self.ring.find(header.key);
        let key = key.ok_or(EncryptionError::NoKey(header.key))?;
        let object_key = header.object_key(key, &self.context)?;
        let mut cipher = CipherCtx::new()?;
        cipher.decrypt_init(Some(Cipher::aes_256_gcm()), Some(&object_key), None)?;
        Ok(Opened {
            cipher,
            nonces: Nonces::default(),
            key: header.key,
        })
    }
}

impl Opened {
    /// Opens a chunk with its tag, and adds it only if it is what was sealed.
    fn open(
        &mut self,
        chunk: &mut Vec<u8>,
        is_last: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), EncryptionError> {
        let nonce = self.nonces.next(is_last);
        let (content, tag) = chunk.split_at(chunk.len() - TAG_BYTES);
        let before = out.len();
        self.cipher.decrypt_init(None, None, Some(&nonce))?;
        self.cipher.set_tag(tag)?;
        self.cipher.cipher_update_vec(content, out)?;
        if self.cipher.cipher_final_vec(out).is_err() {
            out.truncate(before);
            return Err(EncryptionError::Changed(self.key));
        }
        chunk.clear();
        Ok(())
    }
}
