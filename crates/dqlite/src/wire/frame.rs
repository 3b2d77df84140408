//! Framing: the version word a client sends first, and the header in front of every message.

use bytes::{Buf, BufMut, BytesMut};

use super::bytes::WORD_BYTES;
use super::{MAX_MESSAGE_BYTES, WireError};

/// The first word that a client sends.
pub const PROTOCOL_VERSION: u64 = 1;
/// The first word that clients older than dqlite 1.0 send; servers still take it.
pub const PROTOCOL_VERSION_LEGACY: u64 = 0x8610_4dd7_6043_3fe5;

/// The header in front of a message body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Length of the body in words of 8 bytes.
    pub words: u32,
    /// Request or reply type.
    pub kind: u8,
    /// Version of that type's layout.
    pub schema: u8,
}

impl Header {
    /// Size of a header on the wire.
    pub const BYTES: usize = 8;

    /// Reads a header and checks its length, so that nobody waits for or stores more than
    /// [`MAX_MESSAGE_BYTES`]. A body is never empty: the C server hangs on one.
    pub fn decode(raw: &[u8]) -> Result<Header, WireError> {
        Header::decode_up_to(raw, MAX_MESSAGE_BYTES)
    }

    /// Like [`decode`](Self::decode), with another limit.
    pub fn decode_up_to(mut raw: &[u8], limit: usize) -> Result<Header, WireError> {
        if raw.len() < Self::BYTES {
            return Err(WireError::Truncated("header"));
        }
        let header = Header {
            words: raw.get_u32_le(),
            kind: raw.get_u8(),
            schema: raw.get_u8(),
        };
        if header.words == 0 {
            return Err(WireError::EmptyBody);
        }
        if header.body_bytes() > limit {
            return Err(WireError::TooLarge {
                what: "message",
                limit,
            });
        }
        Ok(header)
    }

    /// Length of the body in bytes.
    pub fn body_bytes(&self) -> usize {
        self.words as usize * WORD_BYTES
    }

    /// Puts a header for a body of `body_bytes`, which must be whole words, and reserves room for the
    /// body, so that filling it in never reallocates.
    pub(super) fn put(
        out: &mut BytesMut,
        kind: u8,
        schema: u8,
        body_bytes: usize,
    ) -> Result<(), WireError> {
        debug_assert_eq!(body_bytes % WORD_BYTES, 0);
        if body_bytes > MAX_MESSAGE_BYTES {
            return Err(WireError::TooLarge {
                what: "message",
                limit: MAX_MESSAGE_BYTES,
            });
        }
        out.reserve(Self::BYTES + body_bytes);
        out.put_u32_le((body_bytes / WORD_BYTES) as u32);
        out.put_u8(kind);
        out.put_u8(schema);
        out.put_u16_le(0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_with_more_words_than_the_limit_is_refused() {
        let words = (MAX_MESSAGE_BYTES / WORD_BYTES) as u32;
        let mut raw = [0; Header::BYTES];
        raw[..4].copy_from_slice(&words.to_le_bytes());
        assert_eq!(
            Header::decode(&raw).unwrap().body_bytes(),
            MAX_MESSAGE_BYTES
        );
        for over in [words + 1, 0x1000_0000, u32::MAX] {
            raw[..4].copy_from_slice(&over.to_le_bytes());
            assert!(matches!(
                Header::decode(&raw),
                Err(WireError::TooLarge { .. })
            ));
        }
    }

    #[test]
    fn header_of_an_empty_body_is_refused() {
        assert_eq!(
            Header::decode(&[0; Header::BYTES]),
            Err(WireError::EmptyBody)
        );
    }
}
