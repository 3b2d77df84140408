//! A new file from entries in ascending order, in two passes over them: [`Measure`] counts the pages,
//! because the first page says how many there are; [`Writer`] makes them.
//!
//! Pages come in the order of the file. A leaf is done when the next entry does not fit any more, a
//! branch when its next child does not; so only one unfinished page per level is in memory. Pages are
//! filled to the brim: etcd appends to its biggest bucket, and splits a page when it has to.

use crate::{
    meta::Meta,
    page::{
        BRANCH, BUCKET_BYTES, BUCKET_FLAG, ELEMENT_BYTES, FREELIST, HEADER_BYTES, Header, LEAF,
        PageId,
    },
};

/// Bytes of a page: bbolt takes the operating system's size when it makes a file, and whatever the file
/// says when it opens one.
pub const PAGE_BYTES: usize = 4096;

/// bbolt's limit for keys, in bytes.
pub const MAX_KEY_BYTES: usize = 32768;

/// Meta pages and the list of free pages come first.
const FREELIST_PAGE: PageId = 2;
const FIRST_PAGE: PageId = 3;

/// The number of pages of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    pages: u64,
}

impl Plan {
    pub fn file_bytes(self) -> u64 {
        self.pages * PAGE_BYTES as u64
    }
}

/// The first pass: the same calls as to the [`Writer`], with the lengths of values.
#[derive(Debug, Default)]
pub struct Measure(Layout<Count>);

impl Measure {
    pub fn new() -> Self {
        Self(Layout::new(Count))
    }

    /// Begins a bucket. Names must ascend.
    pub fn bucket(&mut self, name: &[u8]) {
        self.0.bucket(name);
    }

    /// An entry of the bucket. Keys must ascend; they have at least one byte.
    pub fn entry(&mut self, key: &[u8], value_bytes: usize) {
        self.0.entry(0, key, value_bytes, &[]);
    }

    pub fn finish(mut self) -> Plan {
        let root = self.0.finish();
        Plan { pages: root + 1 }
    }
}

/// The second pass.
///
/// Panics when the calls differ from those to [`Measure`]: the pages that are out already promised
/// another file.
#[derive(Debug)]
pub struct Writer {
    layout: Layout<Out>,
    plan: Plan,
}

impl Writer {
    pub fn new(plan: Plan) -> Self {
        let mut layout = Layout::new(Out::default());
        let out = &mut layout.sink.0;
        for transaction in [2, 1] {
            let meta = Meta {
                page_bytes: PAGE_BYTES as u32,
                root: plan.pages - 1,
                freelist: FREELIST_PAGE,
                end: plan.pages,
                transaction,
            };
            meta.append_to(out);
            pad(out);
        }
        let header = Header {
            id: FREELIST_PAGE,
            flags: FREELIST,
            count: 0,
            overflow: 0,
        };
        header.append_to(out);
        pad(out);
        Self { layout, plan }
    }

    pub fn bucket(&mut self, name: &[u8]) {
        self.layout.bucket(name);
    }

    pub fn entry(&mut self, key: &[u8], value: &[u8]) {
        self.layout.entry(0, key, value.len(), value);
    }

    /// The pages that are done. After [`Writer::finish`] that is all of the rest.
    pub fn pages(&mut self) -> &mut Vec<u8> {
        &mut self.layout.sink.0
    }

    pub fn finish(&mut self) {
        let root = self.layout.finish();
        assert_eq!(root + 1, self.plan.pages, "another file was measured");
    }
}

/// The receiver of pages that are done.
trait Sink {
    const KEEPS_DATA: bool;
    fn page(&mut self, header: Header, body: &[&[u8]]);
}

#[derive(Debug, Default)]
struct Count;

impl Sink for Count {
    const KEEPS_DATA: bool = false;
    fn page(&mut self, _: Header, _: &[&[u8]]) {}
}

#[derive(Debug, Default)]
struct Out(Vec<u8>);

impl Sink for Out {
    const KEEPS_DATA: bool = true;
    fn page(&mut self, header: Header, body: &[&[u8]]) {
        header.append_to(&mut self.0);
        body.iter().for_each(|part| self.0.extend_from_slice(part));
        pad(&mut self.0);
    }
}

/// Fills the last page with zeros.
fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(PAGE_BYTES), 0);
}

/// An unfinished page.
#[derive(Debug, Default)]
struct Open {
    first_key: Vec<u8>,
    /// Flags of a leaf's element, page of a branch's; then lengths of key and value.
    elements: Vec<(u64, u32, u32)>,
    /// Keys and values, if they are kept.
    data: Vec<u8>,
    data_bytes: usize,
}

impl Open {
    fn bytes(&self) -> usize {
        HEADER_BYTES + self.elements.len() * ELEMENT_BYTES + self.data_bytes
    }

    fn has_room_for(&self, key_bytes: usize, value_bytes: usize) -> bool {
        // An entry that is larger than a page has it for itself.
        self.elements.is_empty()
            || self.bytes() + ELEMENT_BYTES + key_bytes + value_bytes <= PAGE_BYTES
    }

    fn clear(&mut self) {
        self.first_key.clear();
        self.elements.clear();
        self.data.clear();
        self.data_bytes = 0;
    }
}

#[derive(Debug, Default)]
struct Level {
    open: Open,
    /// A page of this level is done: there must be a level above.
    has_siblings: bool,
}

#[derive(Debug, Default)]
struct Layout<S> {
    sink: S,
    next_page: PageId,
    /// The levels of the bucket that is being written; leaves first.
    levels: Vec<Level>,
    last_key: Vec<u8>,
    /// Buckets that are done: name and root.
    buckets: Vec<(Vec<u8>, PageId)>,
    /// The name of the one that is not.
    name: Option<Vec<u8>>,
    encoded: Vec<u8>,
}

impl<S: Sink> Layout<S> {
    fn new(sink: S) -> Self {
        Self {
            sink,
            next_page: FIRST_PAGE,
            levels: Vec::new(),
            last_key: Vec::new(),
            buckets: Vec::new(),
            name: None,
            encoded: Vec::new(),
        }
    }

    fn bucket(&mut self, name: &[u8]) {
        assert!(!name.is_empty() && name.len() <= MAX_KEY_BYTES);
        self.end_bucket();
        let is_next = self.buckets.last().is_none_or(|(last, _)| &last[..] < name);
        assert!(is_next, "buckets must ascend");
        self.name = Some(name.to_vec());
    }

    fn end_bucket(&mut self) {
        if let Some(name) = self.name.take() {
            let root = self.end_tree();
            self.buckets.push((name, root));
        }
    }

    /// The page of the root, which is the last.
    fn finish(&mut self) -> PageId {
        self.end_bucket();
        for (name, root) in std::mem::take(&mut self.buckets) {
            let mut bucket = [0; BUCKET_BYTES];
            bucket[..8].copy_from_slice(&root.to_le_bytes());
            self.entry(BUCKET_FLAG, &name, bucket.len(), &bucket);
        }
        self.end_tree()
    }

    fn entry(&mut self, flags: u32, key: &[u8], value_bytes: usize, value: &[u8]) {
        assert!(!key.is_empty() && key.len() <= MAX_KEY_BYTES);
        assert!(self.last_key[..] < *key, "keys must ascend");
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        self.add(0, flags.into(), key, value_bytes, value);
    }

    /// Adds an element to the open page of a level.
    fn add(&mut self, level: usize, mark: u64, key: &[u8], value_bytes: usize, value: &[u8]) {
        if self.levels.len() == level {
            self.levels.push(Level::default());
        }
        if !self.levels[level].open.has_room_for(key.len(), value_bytes) {
            self.end_page(level);
        }
        let open = &mut self.levels[level].open;
        if open.elements.is_empty() {
            open.first_key.extend_from_slice(key);
        }
        let lengths = (key.len() as u32, value_bytes as u32);
        open.elements.push((mark, lengths.0, lengths.1));
        open.data_bytes += key.len() + value_bytes;
        if S::KEEPS_DATA {
            open.data.extend_from_slice(key);
            open.data.extend_from_slice(value);
        }
    }

    /// Finishes the open page of a level, and tells the level above.
    fn end_page(&mut self, level: usize) {
        let page = self.write_page(level);
        let first_key = std::mem::take(&mut self.levels[level].open.first_key);
        self.levels[level].open.clear();
        self.levels[level].has_siblings = true;
        self.add(level + 1, page, &first_key, 0, &[]);
    }

    fn write_page(&mut self, level: usize) -> PageId {
        let open = &self.levels[level].open;
        let pages = open.bytes().div_ceil(PAGE_BYTES).max(1);
        let header = Header {
            id: self.next_page,
            flags: if level == 0 { LEAF } else { BRANCH },
            count: open.elements.len() as u16,
            overflow: (pages - 1) as u32,
        };
        self.encoded.clear();
        if S::KEEPS_DATA {
            let mut data_at = open.elements.len() * ELEMENT_BYTES;
            for (index, (mark, key_bytes, value_bytes)) in open.elements.iter().enumerate() {
                // Counted from the element itself.
                let position = (data_at - index * ELEMENT_BYTES) as u32;
                let out = &mut self.encoded;
                if level == 0 {
                    for number in [*mark as u32, position, *key_bytes, *value_bytes] {
                        out.extend_from_slice(&number.to_le_bytes());
                    }
                } else {
                    out.extend_from_slice(&position.to_le_bytes());
                    out.extend_from_slice(&key_bytes.to_le_bytes());
                    out.extend_from_slice(&mark.to_le_bytes());
                }
                data_at += (key_bytes + value_bytes) as usize;
            }
        }
        self.sink.page(header, &[&self.encoded, &open.data]);
        self.next_page += pages as u64;
        header.id
    }

    /// Finishes a tree, level by level, and returns its root.
    fn end_tree(&mut self) -> PageId {
        self.last_key.clear();
        if self.levels.is_empty() {
            self.levels.push(Level::default());
        }
        let mut level = 0;
        while self.levels[level].has_siblings {
            self.end_page(level);
            level += 1;
        }
        let root = self.write_page(level);
        self.levels.clear();
        root
    }
}
