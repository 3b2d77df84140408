//! The meta pages, 0 and 1: where everything else is. The valid one with the higher transaction counts.

use crate::page::{HEADER_BYTES, Header, META, PageId, u32_at, u64_at};

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;

/// Bytes before the checksum, which covers them.
const CHECKED_BYTES: usize = 56;

/// Header and meta.
pub const META_PAGE_BYTES: usize = HEADER_BYTES + CHECKED_BYTES + 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    pub page_bytes: u32,
    /// The root page of the bucket of buckets.
    pub root: PageId,
    /// `u64::MAX` if the list of free pages is not stored.
    pub freelist: PageId,
    /// The first page behind those of the file, and so their number.
    pub end: PageId,
    pub transaction: u64,
}

/// The reason why a page is no meta page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MetaError {
    #[error("it does not begin like a bbolt file")]
    Magic,
    #[error("its format has version {0}; only version 2 is supported")]
    Version(u32),
    #[error("the checksum of its meta page is wrong")]
    Checksum,
    #[error("its page size of {0} bytes is invalid")]
    PageSize(u32),
    #[error("it is too short")]
    Short,
}

impl Meta {
    pub fn append_to(&self, out: &mut Vec<u8>) {
        let header = Header {
            id: self.transaction % 2,
            flags: META,
            count: 0,
            overflow: 0,
        };
        header.append_to(out);
        let start = out.len();
        for number in [MAGIC, VERSION, self.page_bytes, 0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in [self.root, 0, self.freelist, self.end, self.transaction] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let checksum = fnv1a(&out[start..]);
        out.extend_from_slice(&checksum.to_le_bytes());
    }

    pub fn parse(page: &[u8]) -> Result<Self, MetaError> {
        let meta = page.get(HEADER_BYTES..).ok_or(MetaError::Short)?;
        let number = |at| u32_at(meta, at).ok_or(MetaError::Short);
        let long = |at| u64_at(meta, at).ok_or(MetaError::Short);
        if number(0)? != MAGIC {
            return Err(MetaError::Magic);
        }
        if number(4)? != VERSION {
            return Err(MetaError::Version(number(4)?));
        }
        if long(CHECKED_BYTES)? != fnv1a(&meta[..CHECKED_BYTES]) {
            return Err(MetaError::Checksum);
        }
        let page_bytes = number(8)?;
        if !page_bytes.is_power_of_two() || !(1024..=1 << 16).contains(&page_bytes) {
            return Err(MetaError::PageSize(page_bytes));
        }
        Ok(Self {
            page_bytes,
            root: long(16)?,
            freelist: long(32)?,
            end: long(40)?,
            transaction: long(48)?,
        })
    }
}

/// FNV-1a of 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_fnv1a() {
        // From the reference of the algorithm.
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_meta_page_is_read_as_written_and_any_flipped_byte_is_noticed() {
        let meta = Meta {
            page_bytes: 4096,
            root: 3,
            freelist: 2,
            end: 4,
            transaction: 2,
        };
        let mut page = Vec::new();
        meta.append_to(&mut page);
        assert_eq!(page.len(), META_PAGE_BYTES);
        assert_eq!(Meta::parse(&page), Ok(meta));
        for at in HEADER_BYTES..page.len() {
            page[at] ^= 0x10;
            assert!(Meta::parse(&page).is_err());
            page[at] ^= 0x10;
        }
        assert_eq!(Meta::parse(&page[..30]), Err(MetaError::Short));
    }
}
