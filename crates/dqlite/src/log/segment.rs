//! Segments: the files of the log (dqlite: src/raft/uv_segment.c, uv_append.c, uv_finalize.c).
//!
//! Both kinds begin with the format, 1 in eight bytes, and then hold batches without gaps. A closed
//! segment ends with its last batch and has the indexes of its first and last entry in its name. An
//! open one was allocated as 8 MiB of zeros and keeps those behind its last batch. It is cut to its
//! content just before it is renamed to a closed one.

use super::{
    batch::{Batch, BatchFault},
    bytes::{is_zero, u64_at},
    damage::{DamageKind, Fault},
    entries::Entries,
    torn,
};

const FORMAT: u64 = 1;
const FORMAT_BYTES: usize = 8;

/// The entries of a closed segment, of which nothing may be wrong.
pub fn read_closed(bytes: &[u8], expected: u64) -> Result<Entries, Fault> {
    let format = u64_at(bytes, 0).ok_or_else(|| too_short(bytes))?;
    if format != FORMAT {
        return Err(Fault::at(0, DamageKind::Format(format)));
    }
    let mut batches = Batches::new(bytes);
    while batches.offset < bytes.len() || batches.entries.count == 0 {
        if let Err(fault) = batches.next()? {
            return Err(batches.fault(DamageKind::Batch(fault)));
        }
    }
    let entries = batches.entries;
    match entries.count == expected {
        true => Ok(entries),
        false => Err(Fault {
            offset: None,
            kind: DamageKind::Count {
                found: entries.count,
                expected,
            },
            entries_before: entries.count.min(expected),
        }),
    }
}

/// Returns the number of entries in whole batches before the byte `limit`, and the offset at which
/// the last of them ends.
pub fn whole_before(bytes: &[u8], limit: usize) -> (u64, usize) {
    let mut batches = Batches::new(bytes);
    let mut whole = (0, FORMAT_BYTES);
    if u64_at(bytes, 0) != Some(FORMAT) {
        return (0, 0);
    }
    while let Ok(Ok(())) = batches.next()
        && batches.offset <= limit
    {
        whole = (batches.entries.count, batches.offset);
    }
    whole
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSegment {
    pub entries: Entries,
    pub tail: Tail,
}

/// The bytes after the last batch of an open segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// Nothing was ever written: the file was prepared for later, or was just being created.
    Unused,
    /// Zeros, or the end of the file.
    Clean,
    /// The remains of an interrupted write; the engine cuts them off.
    Torn { offset: u64, len_bytes: u64 },
}

impl OpenSegment {
    pub fn is_used(&self) -> bool {
        self.tail != Tail::Unused
    }
}

/// The entries of an open segment, in which one write may have been interrupted. No entry of it has
/// a term after `term_max`.
pub fn read_open(bytes: &[u8], term_max: u64) -> Result<OpenSegment, Fault> {
    if bytes.is_empty() || (bytes.len() >= FORMAT_BYTES && is_zero(bytes)) {
        return Ok(OpenSegment {
            entries: Entries::default(),
            tail: Tail::Unused,
        });
    }
    let format = u64_at(bytes, 0).ok_or_else(|| too_short(bytes))?;
    if format != FORMAT {
        return Err(Fault::at(0, DamageKind::Format(format)));
    }
    let mut batches = Batches::new(bytes);
    while batches.offset < bytes.len() {
        if let Err(fault) = batches.next()? {
            let tail = batches.tail(fault, term_max)?;
            let entries = batches.entries;
            return Ok(OpenSegment { entries, tail });
        }
    }
    match batches.entries.count {
        // The format reaches the disk together with the first batch.
        0 => Err(batches.fault(DamageKind::Emptied)),
        _ => Ok(OpenSegment {
            entries: batches.entries,
            tail: Tail::Clean,
        }),
    }
}

fn too_short(bytes: &[u8]) -> Fault {
    Fault::of_file(DamageKind::Length {
        found: bytes.len() as u64,
        expected: FORMAT_BYTES as u64,
    })
}

struct Batches<'a> {
    bytes: &'a [u8],
    offset: usize,
    entries: Entries,
}

impl<'a> Batches<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            offset: FORMAT_BYTES,
            entries: Entries::default(),
        }
    }

    /// Takes one batch; why it is none is for the caller to judge.
    fn next(&mut self) -> Result<Result<(), BatchFault>, Fault> {
        let batch = match Batch::read(self.bytes, self.offset) {
            Ok(batch) => batch,
            // Its checksums are right, so no interrupted write explains this.
            Err(fault @ (BatchFault::Kind(_) | BatchFault::Length(_) | BatchFault::NoTerm)) => {
                return Err(self.fault(DamageKind::Batch(fault)));
            }
            Err(fault) => return Ok(Err(fault)),
        };
        let before = self.entries.count;
        if self.entries.add(self.offset, batch).is_err() {
            return Err(Fault {
                entries_before: before,
                ..self.fault(DamageKind::Configuration)
            });
        }
        self.offset = batch.end;
        Ok(Ok(()))
    }

    fn tail(&self, fault: BatchFault, term_max: u64) -> Result<Tail, Fault> {
        if is_zero(&self.bytes[self.offset..]) {
            return match self.entries.count {
                0 => Err(self.fault(DamageKind::Emptied)),
                _ => Ok(Tail::Clean),
            };
        }
        match torn::judge(self.bytes, self.offset, fault, term_max) {
            Ok(len_bytes) => Ok(Tail::Torn {
                offset: self.offset as u64,
                len_bytes,
            }),
            Err(kind) => Err(self.fault(kind)),
        }
    }

    fn fault(&self, kind: DamageKind) -> Fault {
        Fault {
            entries_before: self.entries.count,
            ..Fault::at(self.offset, kind)
        }
    }
}
