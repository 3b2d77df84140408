//! Reads buckets of a file in the order of their keys. A damaged or hostile file ends in an error: every
//! number is checked before it is used, and no page is visited by a longer way than a tree can have.

use crate::{
    meta::{META_PAGE_BYTES, Meta, MetaError},
    page::{
        BRANCH, BUCKET_BYTES, BUCKET_FLAG, HEADER_BYTES, Header, LEAF, LeafElement, PageId,
        branch_child, branch_key, u64_at,
    },
};

/// Levels of a tree: with two children each, more keys than a file has bytes.
const MAX_DEPTH: usize = 64;

/// Page sizes that are tried for the second meta page when the first is damaged, in bytes.
const PAGE_SIZES: [u64; 7] = [1024, 2048, 4096, 8192, 16384, 32768, 65536];

/// Access to the bytes of the file.
pub trait Source {
    type Error;

    /// Bytes of the file.
    fn len(&self) -> u64;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buffer` from `offset` on. It is within the file.
    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), Self::Error>;
}

impl Source for &[u8] {
    type Error = std::convert::Infallible;

    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), Self::Error> {
        let start = offset as usize;
        buffer.copy_from_slice(&self[start..start + buffer.len()]);
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError<E> {
    #[error("{0}")]
    Source(E),
    #[error("not a bbolt file: {0}")]
    Meta(MetaError),
    #[error("page {page} is damaged: {what}")]
    Damaged { page: PageId, what: &'static str },
}

/// An open file.
#[derive(Debug)]
pub struct Reader<S> {
    source: S,
    meta: Meta,
}

/// A bucket, to be walked through by [`Bucket::next`].
#[derive(Debug)]
pub struct Bucket {
    /// Branches above the leaf, each with the next child.
    path: Vec<(Page, usize)>,
    leaf: Option<(Page, usize)>,
    last_key: Vec<u8>,
    /// The number of pages that were read.
    visited: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    pub key: &'a [u8],
    pub value: &'a [u8],
    /// The value is a bucket.
    is_bucket: bool,
}

/// The root of a bucket.
enum Root {
    Tree(PageId),
    /// The only page of a small bucket, stored as its value.
    Inline(Page),
}

#[derive(Debug)]
struct Page {
    header: Header,
    /// All of it, with its overflow.
    bytes: Vec<u8>,
}

type Read<T, S> = Result<T, ReadError<<S as Source>::Error>>;

impl<S: Source> Reader<S> {
    pub fn open(mut source: S) -> Read<Self, S> {
        let first = read_meta(&mut source, 0)?;
        let second = match first {
            Ok(first) => read_meta(&mut source, first.page_bytes.into())?.ok(),
            Err(_) => {
                let mut found = None;
                for size in PAGE_SIZES {
                    let second = read_meta(&mut source, size)?.ok();
                    found = found.or(second.filter(|meta| u64::from(meta.page_bytes) == size));
                }
                found
            }
        };
        let meta = match (first, second) {
            (Ok(first), Some(second)) if second.transaction > first.transaction => second,
            (Ok(first), _) => first,
            (Err(_), Some(second)) => second,
            (Err(error), None) => return Err(ReadError::Meta(error)),
        };
        if meta.end > source.len() / u64::from(meta.page_bytes) {
            return Err(ReadError::Damaged {
                page: meta.end,
                what: "the file is shorter than its first page says",
            });
        }
        Ok(Self { source, meta })
    }

    pub fn into_source(self) -> S {
        self.source
    }

    /// The bucket of that name.
    pub fn bucket(&mut self, name: &[u8]) -> Read<Option<Bucket>, S> {
        Ok(match self.root(name)? {
            None => None,
            Some(Root::Tree(id)) => Some(self.open_tree(id)?),
            Some(Root::Inline(leaf)) => Some(Bucket {
                path: Vec::new(),
                leaf: Some((leaf, 0)),
                last_key: Vec::new(),
                visited: 0,
            }),
        })
    }

    /// The value of one key of the bucket of that name.
    pub fn find(&mut self, name: &[u8], key: &[u8]) -> Read<Option<Vec<u8>>, S> {
        let mut id = match self.root(name)? {
            None => return Ok(None),
            Some(Root::Inline(leaf)) => return find_in_leaf(&leaf, key),
            Some(Root::Tree(id)) => id,
        };
        for _ in 0..MAX_DEPTH {
            let page = self.page(id)?;
            match page.header.flags {
                LEAF => return find_in_leaf(&page, key),
                BRANCH => match child_for(&page, key)? {
                    Some(child) => id = child,
                    None => return Ok(None),
                },
                _ => {
                    return Err(ReadError::Damaged {
                        page: id,
                        what: "it is neither leaf nor branch",
                    });
                }
            }
        }
        Err(ReadError::Damaged {
            page: id,
            what: "it is below itself",
        })
    }

    fn root(&mut self, name: &[u8]) -> Read<Option<Root>, S> {
        let mut root = self.open_tree(self.meta.root)?;
        let inline = loop {
            match root.next(self)? {
                None => return Ok(None),
                Some(entry) if entry.key == name && entry.is_bucket => break entry.value.to_vec(),
                Some(_) => {}
            }
        };
        let page = root.leaf.as_ref().map_or(0, |(leaf, _)| leaf.header.id);
        let damaged = |what| ReadError::Damaged { page, what };
        let tree = u64_at(&inline, 0).ok_or(damaged("a bucket is cut off"))?;
        if tree != 0 {
            return Ok(Some(Root::Tree(tree)));
        }
        let bytes = inline
            .get(BUCKET_BYTES..)
            .ok_or(damaged("a bucket is cut off"))?;
        let header = Header::parse(bytes).ok_or(damaged("a bucket is cut off"))?;
        if header.flags != LEAF {
            return Err(damaged("an inline bucket is not a leaf"));
        }
        let leaf = Page {
            header,
            bytes: bytes.to_vec(),
        };
        Ok(Some(Root::Inline(leaf)))
    }

    /// The names of all buckets, ascending.
    pub fn buckets(&mut self) -> Read<Vec<Vec<u8>>, S> {
        let mut root = self.open_tree(self.meta.root)?;
        let mut names = Vec::new();
        while let Some(entry) = root.next(self)? {
            if entry.is_bucket {
                names.push(entry.key.to_vec());
            }
        }
        Ok(names)
    }

    fn open_tree(&mut self, root: PageId) -> Read<Bucket, S> {
        let mut bucket = Bucket {
            path: Vec::new(),
            leaf: None,
            last_key: Vec::new(),
            visited: 0,
        };
        bucket.descend(self, root)?;
        Ok(bucket)
    }

    fn page(&mut self, id: PageId) -> Read<Page, S> {
        let damaged = |what| ReadError::Damaged { page: id, what };
        if id < 2 || id >= self.meta.end {
            return Err(damaged("it is outside of the file"));
        }
        let page_bytes = u64::from(self.meta.page_bytes);
        let mut head = [0; HEADER_BYTES];
        self.read(id * page_bytes, &mut head)?;
        let header = Header::parse(&head).expect("all of a header");
        if header.id != id {
            return Err(damaged("its header has the number of another page"));
        }
        let pages = u64::from(header.overflow) + 1;
        if pages > self.meta.end - id {
            return Err(damaged("it extends past the end of the file"));
        }
        let mut bytes = vec![0; (pages * page_bytes) as usize];
        self.read(id * page_bytes, &mut bytes)?;
        Ok(Page { header, bytes })
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Read<(), S> {
        self.source.read(offset, buffer).map_err(ReadError::Source)
    }
}

/// Returns how many elements of a page, from its first on, have a key for which `is_before` holds; they are sorted.
fn count_before<E>(
    page: &Page,
    key_at: impl Fn(usize) -> Option<(usize, usize)>,
    is_before: impl Fn(&[u8]) -> bool,
) -> Result<usize, ReadError<E>> {
    let (mut low, mut high) = (0, usize::from(page.header.count));
    while low < high {
        let middle = low.midpoint(high);
        let (start, end) = key_at(middle).ok_or(ReadError::Damaged {
            page: page.header.id,
            what: "an entry reaches out of the page",
        })?;
        match is_before(&page.bytes[start..end]) {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    Ok(low)
}

/// The child that has the key, if any has: the last one that does not begin after it.
fn child_for<E>(page: &Page, key: &[u8]) -> Result<Option<PageId>, ReadError<E>> {
    let key_at = |index| branch_key(&page.bytes, index);
    let count = count_before(page, key_at, |first| first <= key)?;
    Ok(count
        .checked_sub(1)
        .and_then(|index| branch_child(&page.bytes, index)))
}

fn find_in_leaf<E>(page: &Page, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError<E>> {
    let element = |index| LeafElement::parse(&page.bytes, index);
    let index = count_before(page, |index| Some(element(index)?.key), |other| other < key)?;
    if index == usize::from(page.header.count) {
        return Ok(None);
    }
    let found = element(index).filter(|it| page.bytes[it.key.0..it.key.1] == *key);
    Ok(found.map(|it| page.bytes[it.value.0..it.value.1].to_vec()))
}

fn read_meta<S: Source>(source: &mut S, offset: u64) -> Read<Result<Meta, MetaError>, S> {
    if offset + META_PAGE_BYTES as u64 > source.len() {
        return Ok(Err(MetaError::Short));
    }
    let mut page = [0; META_PAGE_BYTES];
    source.read(offset, &mut page).map_err(ReadError::Source)?;
    Ok(Meta::parse(&page))
}

impl Bucket {
    /// The next entry in the order of keys. `reader` must be the one that the bucket is of.
    pub fn next<S: Source>(&mut self, reader: &mut Reader<S>) -> Read<Option<Entry<'_>>, S> {
        while self
            .leaf
            .as_ref()
            .is_none_or(|(leaf, at)| *at == usize::from(leaf.header.count))
        {
            if !self.next_leaf(reader)? {
                return Ok(None);
            }
        }
        let (leaf, at) = self.leaf.as_mut().expect("just found");
        let damaged = |what| ReadError::Damaged {
            page: leaf.header.id,
            what,
        };
        let element = LeafElement::parse(&leaf.bytes, *at)
            .ok_or(damaged("an entry reaches out of the page"))?;
        let key = &leaf.bytes[element.key.0..element.key.1];
        if self.last_key[..] >= *key {
            return Err(damaged("its keys are not in order"));
        }
        *at += 1;
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        Ok(Some(Entry {
            key,
            value: &leaf.bytes[element.value.0..element.value.1],
            is_bucket: element.flags & BUCKET_FLAG != 0,
        }))
    }

    fn next_leaf<S: Source>(&mut self, reader: &mut Reader<S>) -> Read<bool, S> {
        self.leaf = None;
        while let Some((branch, at)) = self.path.last_mut() {
            if *at == usize::from(branch.header.count) {
                self.path.pop();
                continue;
            }
            let page = branch.header.id;
            let child = branch_child(&branch.bytes, *at).ok_or(ReadError::Damaged {
                page,
                what: "an entry reaches out of the page",
            })?;
            *at += 1;
            self.descend(reader, child)?;
            if self.leaf.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Goes down one level: to a leaf, or to a branch whose children come next.
    fn descend<S: Source>(&mut self, reader: &mut Reader<S>, id: PageId) -> Read<(), S> {
        let page = reader.page(id)?;
        let damaged = |what| ReadError::Damaged { page: id, what };
        self.visited += 1;
        if self.visited > reader.meta.end {
            return Err(damaged("more than one page refers to it"));
        }
        match page.header.flags {
            LEAF => self.leaf = Some((page, 0)),
            BRANCH if self.path.len() < MAX_DEPTH => self.path.push((page, 0)),
            BRANCH => return Err(damaged("it is below itself")),
            _ => return Err(damaged("it is neither leaf nor branch")),
        }
        Ok(())
    }
}
