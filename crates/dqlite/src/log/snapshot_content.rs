//! The content of a snapshot once it is decompressed (dqlite: src/fsm.c, `fsm__snapshot`, `decodeDatabase`).
//!
//! Format 1 and the number of databases, eight bytes each; for each database its name with a NUL byte
//! behind, filled up to a multiple of 8, then the bytes of its pages and of its write-ahead log,
//! eight each, then these. Since 1.17 the log is empty.

use super::damage::DamageKind;

const FORMAT: u64 = 1;

/// The engine aborts on a size that is no multiple of it (dqlite: src/config.c).
const PAGE_BYTES: u64 = 4096;

const WAL_HEADER_BYTES: u64 = 32;
const WAL_FRAME_BYTES: u64 = PAGE_BYTES + 24;

/// Longer than any path that SQLite takes.
const NAME_BYTES_MAX: usize = 8192;

/// A database in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    pub name: String,
    pub pages: u64,
    pub wal_bytes: u64,
}

/// Takes the bytes of a snapshot in pieces of any size.
#[derive(Debug, Default)]
pub struct ContentReader {
    databases: Vec<Database>,
    expected: Option<u64>,
    part: Vec<u8>,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Header,
    Name,
    Sizes {
        name: String,
    },
    Pages {
        left_bytes: u64,
    },
}

impl ContentReader {
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), DamageKind> {
        while !bytes.is_empty() {
            if let State::Pages { left_bytes } = &mut self.state {
                let len = bytes
                    .len()
                    .min(usize::try_from(*left_bytes).unwrap_or(usize::MAX));
                bytes = &bytes[len..];
                *left_bytes -= len as u64;
                if *left_bytes == 0 {
                    self.state = State::Name;
                }
                continue;
            }
            // All before the pages comes in words of eight bytes.
            let len = bytes.len().min(8 - self.part.len() % 8);
            let (word, rest) = bytes.split_at(len);
            self.part.extend(word);
            bytes = rest;
            if self.part.len().is_multiple_of(8) {
                self.word()?;
            }
        }
        Ok(())
    }

    fn word(&mut self) -> Result<(), DamageKind> {
        let word = |at| super::bytes::u64_at(&self.part, at).unwrap_or(0);
        let is_all = self.expected == Some(self.databases.len() as u64);
        match &self.state {
            State::Header if self.part.len() == 16 => {
                if word(0) != FORMAT {
                    return Err(DamageKind::NotASnapshot("unknown format"));
                }
                self.expected = Some(word(8));
                self.next(State::Name);
            }
            State::Name if is_all => return Err(DamageKind::Trailing),
            State::Name => {
                if let Some(end) = self.part.iter().position(|byte| *byte == 0) {
                    let name = String::from_utf8_lossy(&self.part[..end]).into_owned();
                    self.next(State::Sizes { name });
                } else if self.part.len() > NAME_BYTES_MAX {
                    return Err(DamageKind::NotASnapshot("a name without an end"));
                }
            }
            State::Sizes { name } if self.part.len() == 16 => {
                let (main_bytes, wal_bytes) = (word(0), word(8));
                let name = name.clone();
                let left_bytes = checked(main_bytes, wal_bytes)
                    .ok_or(DamageKind::NotASnapshot("the size of a database"))?;
                self.databases.push(Database {
                    name,
                    pages: main_bytes / PAGE_BYTES,
                    wal_bytes,
                });
                self.next(match left_bytes {
                    0 => State::Name,
                    left_bytes => State::Pages { left_bytes },
                });
            }
            State::Header | State::Sizes { .. } | State::Pages { .. } => {}
        }
        Ok(())
    }

    fn next(&mut self, state: State) {
        self.part.clear();
        self.state = state;
    }

    pub fn finish(self) -> Result<Vec<Database>, DamageKind> {
        let is_all = self.expected == Some(self.databases.len() as u64);
        match self.state {
            State::Name if is_all && self.part.is_empty() => Ok(self.databases),
            State::Name if is_all => Err(DamageKind::Trailing),
            _ => Err(DamageKind::Cut),
        }
    }
}

/// The bytes of both together.
fn checked(main_bytes: u64, wal_bytes: u64) -> Option<u64> {
    let has_whole_frames = wal_bytes <= WAL_HEADER_BYTES
        || (wal_bytes - WAL_HEADER_BYTES).is_multiple_of(WAL_FRAME_BYTES);
    let is_whole = main_bytes.is_multiple_of(PAGE_BYTES) && has_whole_frames;
    is_whole.then(|| main_bytes.checked_add(wal_bytes))?
}
