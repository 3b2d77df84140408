//! The primitive encodings: words, padded text and padded blobs.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::WireError;

pub(super) const WORD_BYTES: usize = 8;

/// `len` rounded up to whole words, or `None` where that overflows.
pub(super) fn padded(len: usize) -> Option<usize> {
    len.checked_next_multiple_of(WORD_BYTES)
}

/// Size of `text` with its NUL and padding. A text that exists in memory is far from overflowing.
pub(super) fn text_bytes(text: &str) -> usize {
    (text.len() / WORD_BYTES + 1) * WORD_BYTES
}

/// Size of `blob` with its length word and padding.
pub(super) fn blob_bytes(blob: &[u8]) -> usize {
    WORD_BYTES + blob.len().div_ceil(WORD_BYTES) * WORD_BYTES
}

pub(super) fn check_text(text: &str) -> Result<(), WireError> {
    if text.as_bytes().contains(&0) {
        Err(WireError::NulInText)
    } else {
        Ok(())
    }
}

/// The text must have passed [`check_text`].
pub(super) fn put_text(out: &mut BytesMut, text: &str) {
    out.put_slice(text.as_bytes());
    out.put_bytes(0, text_bytes(text) - text.len());
}

pub(super) fn put_blob(out: &mut BytesMut, blob: &[u8]) {
    out.put_u64_le(blob.len() as u64);
    out.put_slice(blob);
    out.put_bytes(0, blob_bytes(blob) - WORD_BYTES - blob.len());
}

/// A cursor over a message body. Every read either moves inside the body or fails.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    body: &'a [u8],
    /// The same, where blobs share its memory.
    shared: Option<&'a Bytes>,
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(body: &'a Bytes) -> Self {
        Reader {
            body,
            shared: Some(body),
            at: 0,
        }
    }

    /// Reads a body that is somebody else's.
    pub(crate) fn borrowed(body: &'a [u8]) -> Self {
        Reader {
            body,
            shared: None,
            at: 0,
        }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.body.len() - self.at
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    pub(crate) fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], WireError> {
        let end = self
            .at
            .checked_add(len)
            .filter(|&end| end <= self.body.len());
        let end = end.ok_or(WireError::Truncated(what))?;
        let slice = &self.body[self.at..end];
        self.at = end;
        Ok(slice)
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, WireError> {
        Ok(self.take(1, what)?[0])
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, WireError> {
        Ok(self.take(4, what)?.get_u32_le())
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, WireError> {
        Ok(self.take(WORD_BYTES, what)?.get_u64_le())
    }

    /// The bytes of a text, without its NUL.
    pub(crate) fn text_slice(&mut self, what: &'static str) -> Result<&'a [u8], WireError> {
        let rest = &self.body[self.at..];
        let len = rest
            .iter()
            .position(|&byte| byte == 0)
            .ok_or(WireError::Truncated(what))?;
        let with_padding = padded(len + 1).ok_or(WireError::Truncated(what))?;
        Ok(&self.take(with_padding, what)?[..len])
    }

    pub(crate) fn text(&mut self, what: &'static str) -> Result<&'a str, WireError> {
        str::from_utf8(self.text_slice(what)?).map_err(|_| WireError::NotUtf8)
    }

    pub(crate) fn blob_slice(&mut self, what: &'static str) -> Result<&'a [u8], WireError> {
        let len = usize::try_from(self.u64(what)?).map_err(|_| WireError::Truncated(what))?;
        let with_padding = padded(len).ok_or(WireError::Truncated(what))?;
        Ok(&self.take(with_padding, what)?[..len])
    }

    /// A blob that shares the message's memory.
    pub(crate) fn blob(&mut self, what: &'static str) -> Result<Bytes, WireError> {
        let blob = self.blob_slice(what)?;
        Ok(match self.shared {
            Some(body) => body.slice_ref(blob),
            None => Bytes::copy_from_slice(blob),
        })
    }

    pub(crate) fn finish(&self) -> Result<(), WireError> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(WireError::Trailing(left)),
        }
    }
}
