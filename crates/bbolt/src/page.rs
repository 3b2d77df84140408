//! Pages: a header, elements of one size, then keys and values. Numbers are little-endian, as on
//! every machine that etcd supports.

pub type PageId = u64;

pub const HEADER_BYTES: usize = 16;
pub const ELEMENT_BYTES: usize = 16;

pub const BRANCH: u16 = 0x01;
pub const LEAF: u16 = 0x02;
pub const META: u16 = 0x04;
pub const FREELIST: u16 = 0x10;

/// The flag of a leaf element whose value is a bucket.
pub const BUCKET_FLAG: u32 = 0x01;

/// A bucket as a value: the page of its root and a counter; with root 0 a page follows.
pub const BUCKET_BYTES: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub id: PageId,
    pub flags: u16,
    pub count: u16,
    /// Pages that follow and belong to this one.
    pub overflow: u32,
}

impl Header {
    pub fn append_to(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.to_le_bytes());
        out.extend_from_slice(&self.flags.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.overflow.to_le_bytes());
    }

    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            id: u64_at(bytes, 0)?,
            flags: u16_at(bytes, 8)?,
            count: u16_at(bytes, 10)?,
            overflow: u32_at(bytes, 12)?,
        })
    }
}

/// An element of a leaf: where its key and value are in the page.
#[derive(Debug, Clone, Copy)]
pub struct LeafElement {
    pub flags: u32,
    pub key: (usize, usize),
    pub value: (usize, usize),
}

impl LeafElement {
    /// `page` is the whole page with its overflow; none if the element reaches out of it.
    pub fn parse(page: &[u8], index: usize) -> Option<Self> {
        let at = HEADER_BYTES + index * ELEMENT_BYTES;
        let key_start = at.checked_add(u32_at(page, at + 4)? as usize)?;
        let key_end = key_start.checked_add(u32_at(page, at + 8)? as usize)?;
        let value_end = key_end.checked_add(u32_at(page, at + 12)? as usize)?;
        (value_end <= page.len()).then_some(Self {
            flags: u32_at(page, at)?,
            key: (key_start, key_end),
            value: (key_end, value_end),
        })
    }
}

/// The child page of a branch's element.
pub fn branch_child(page: &[u8], index: usize) -> Option<PageId> {
    u64_at(page, HEADER_BYTES + index * ELEMENT_BYTES + 8)
}

/// Returns where the key of a branch's element begins and ends in the page. It is the first key
/// below the child.
pub fn branch_key(page: &[u8], index: usize) -> Option<(usize, usize)> {
    let at = HEADER_BYTES + index * ELEMENT_BYTES;
    let start = at.checked_add(u32_at(page, at)? as usize)?;
    let end = start.checked_add(u32_at(page, at + 4)? as usize)?;
    (end <= page.len()).then_some((start, end))
}

pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
