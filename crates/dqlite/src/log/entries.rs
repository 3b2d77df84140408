//! The entries of a segment, as far as they are kept: how many they are, where terms change, and the last
//! nodes of the cluster among them.

use crate::wire::Server;

use super::{
    batch::{Batch, EntryKind, add_to_digest},
    configuration,
};

/// Entries of one term, one behind another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Its first entry, counted from 0 in the segment.
    pub entry: u64,
    pub term: u64,
    /// The offset in the file of the batch with that entry.
    pub offset: u64,
    /// An entry of its own that may be of a lower term than the one before: recovery after the loss
    /// of a majority writes the new nodes with term 1 (dqlite: uv_segment.c,
    /// `uvWriteClosedSegment`), and nodes that join later receive it among others.
    pub is_forced: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entries {
    pub count: u64,
    pub runs: Vec<Run>,
    pub begins_with_configuration: bool,
    /// The digest of all batches.
    pub digest: u64,
    /// The heads of the first batches.
    pub heads: Vec<Head>,
    /// The last configuration, and which entry it is, counted from 0.
    pub configuration: Option<(u64, Vec<Server>)>,
}

/// The number of batches of a segment that are compared with others.
const HEADS_MAX: usize = 4096;

/// Fewer commands than that may well repeat themselves, where a program does the same whenever it
/// starts.
const SAME_COMMANDS_MIN: usize = 16;

/// The values that tell a batch from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub checksums: u64,
    has_command: bool,
}

/// An entry says which nodes there are, but not so that the engine could decode it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadConfiguration;

impl Entries {
    pub fn add(&mut self, offset: usize, batch: Batch) -> Result<(), BadConfiguration> {
        let mut has_command = false;
        for entry in batch.entries() {
            has_command |= entry.kind == EntryKind::Command;
            let is_change = entry.kind == EntryKind::Change;
            if is_change {
                let servers = configuration::decode(entry.data).ok_or(BadConfiguration)?;
                self.configuration = Some((self.count, servers));
                self.begins_with_configuration |= self.count == 0;
            }
            let is_forced = is_change && entry.term == 1;
            let goes_on = |run: &Run| run.term == entry.term && run.is_forced == is_forced;
            if !self.runs.last().is_some_and(goes_on) {
                self.runs.push(Run {
                    entry: self.count,
                    term: entry.term,
                    offset: offset as u64,
                    is_forced,
                });
            }
            self.count += 1;
        }
        self.digest = add_to_digest(self.digest, batch.checksums);
        if self.heads.len() < HEADS_MAX {
            self.heads.push(Head {
                checksums: batch.checksums,
                has_command,
            });
        }
        Ok(())
    }

    /// Returns whether one of two segments begins with all batches of the other, and these are too many for chance.
    pub fn is_copy_of(&self, other: &[Head]) -> bool {
        let mut both = self.heads.iter().zip(other);
        let is_same = both.clone().all(|(one, two)| one == two);
        is_same && both.by_ref().filter(|(one, _)| one.has_command).count() >= SAME_COMMANDS_MIN
    }
}
