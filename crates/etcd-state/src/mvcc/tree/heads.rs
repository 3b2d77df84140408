//! The part of each key that distinguishes it from its neighbours, kept inside the node.
//!
//! Kubernetes' keys share long prefixes, and each key is a pointer away. A node therefore keeps the
//! eight bytes after the prefix that its keys share, as one number: most searches end on these and
//! load a single key.

/// Bytes of a key in its head.
const HEAD_BYTES: usize = 8;

#[derive(Clone)]
pub(super) struct Heads<const N: usize> {
    /// Length of a prefix that all keys of the node share.
    skip: usize,
    len: usize,
    heads: [u64; N],
}

impl<const N: usize> Heads<N> {
    pub fn new() -> Self {
        Heads {
            skip: 0,
            len: 0,
            heads: [0; N],
        }
    }

    /// The heads of `keys`, which ascend and share their first `skip` bytes.
    pub fn of<'a>(skip: usize, keys: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut heads = Heads {
            skip,
            ..Heads::new()
        };
        for key in keys {
            heads.heads[heads.len] = head(&key[skip..]);
            heads.len += 1;
        }
        heads
    }

    pub fn skip(&self) -> usize {
        self.skip
    }

    /// Adds a key that shares the prefix.
    pub fn insert(&mut self, at: usize, key: &[u8]) {
        self.heads.copy_within(at..self.len, at + 1);
        self.heads[at] = head(&key[self.skip..]);
        self.len += 1;
    }

    pub fn remove(&mut self, at: usize) {
        self.heads.copy_within(at + 1..self.len, at);
        self.len -= 1;
    }

    pub fn truncate(&mut self, len: usize) {
        self.len = len;
    }

    /// Returns the index of `key`, or as an error the index at which it belongs. It must share the
    /// prefix; `key_at` loads a full key.
    pub fn search<'a>(
        &self,
        key: &[u8],
        key_at: impl Fn(usize) -> &'a [u8],
    ) -> Result<usize, usize> {
        let wanted = head(&key[self.skip..]);
        let heads = &self.heads[..self.len];
        let mut low = heads.partition_point(|head| *head < wanted);
        let mut high = low
            + heads[low..]
                .iter()
                .take_while(|head| **head == wanted)
                .count();
        while low < high {
            let middle = low + (high - low) / 2;
            match key_at(middle).cmp(key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }
}

/// A number that orders like the first bytes of `rest`; shorter ones are filled with zeros, so that
/// equal heads say nothing.
fn head(rest: &[u8]) -> u64 {
    match rest.first_chunk::<HEAD_BYTES>() {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => {
            let mut bytes = [0; HEAD_BYTES];
            bytes[..rest.len()].copy_from_slice(rest);
            u64::from_be_bytes(bytes)
        }
    }
}

/// The length of the longest prefix that both share.
pub(super) fn shared_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
