//! The state of the engine's log, derived from its calls on files. Pure.

use super::file::{ClosedSegment, Content, OpenSegment, SnapshotEnd};
use crate::{
    log::{Report, add_to_digest, batch_extent},
    node::LastEntry,
    wire::NodeId,
};

/// The offset of the first batch of a segment: behind the word with the format.
const FIRST_BATCH_OFFSET: u64 = 8;

pub struct State {
    node_id: NodeId,
    last_index: u64,
    /// The term of the last entry that was seen to be written; `None` when the entry may be gone.
    last_term: Option<u64>,
    /// Entries up to here are in a snapshot.
    snapshot_index: u64,
    /// The last entry of a segment that was made as a closed one, as a new cluster's first is. It is on the
    /// disk before any other segment is written to.
    made_closed: u64,
    /// The open segments, in the order of their counters.
    open: Vec<Open>,
    /// The closed segments whose batches are known, in the order of their entries.
    closed: Vec<ClosedSegment>,
    snapshot: Option<SnapshotEnd>,
}

struct Open {
    segment: OpenSegment,
    /// The digest of its batches.
    digest: u64,
    /// The offset of the next batch; `None` when the bytes could not be followed.
    next_offset: Option<u64>,
}

impl State {
    /// Returns the state before the engine starts on a directory with this log. The engine closes all segments as it
    /// starts.
    pub fn new(node_id: NodeId, report: &Report, snapshot: Option<SnapshotEnd>) -> Self {
        let open = report.open.iter().filter_map(|open| {
            let (first, last) = open.entries?;
            Some(Open {
                segment: OpenSegment {
                    counter: open.counter,
                    entries: last - first + 1,
                    first_batch: open.first_batch,
                },
                digest: open.digest,
                next_offset: None,
            })
        });
        let closed = report.closed.iter().map(|closed| ClosedSegment {
            first: closed.first,
            last: closed.last,
            digest: closed.digest,
        });
        Self {
            node_id,
            last_index: report.last_index,
            last_term: (report.last_term > 0).then_some(report.last_term),
            snapshot_index: report
                .snapshot
                .as_ref()
                .map_or(0, |snapshot| snapshot.id.index),
            made_closed: 0,
            open: open.collect(),
            closed: closed.collect(),
            snapshot,
        }
    }

    pub fn content(&self, sequence: u64, is_clean: bool) -> Content {
        Content {
            sequence,
            node_id: self.node_id,
            last_index: self.last_index,
            is_clean,
            open: self.open.iter().map(|open| open.segment).collect(),
            closed: self.closed.clone(),
            snapshot: self.snapshot,
        }
    }

    /// Returns the end of the log on the disk, or something that Raft holds to be earlier.
    pub fn last_entry(&self) -> Option<LastEntry> {
        self.last_term.map(|term| LastEntry {
            term,
            index: self.last_index,
        })
    }

    /// Returns the index of the last entry that was written and not taken back.
    pub fn last_index(&self) -> u64 {
        self.last_index
    }

    /// An open segment without entries was made.
    pub fn created(&mut self, counter: u64) {
        self.removed(counter);
        self.open.push(Open {
            segment: OpenSegment {
                counter,
                entries: 0,
                first_batch: None,
            },
            digest: 0,
            next_offset: Some(FIRST_BATCH_OFFSET),
        });
        self.open.sort_by_key(|open| open.segment.counter);
    }

    /// A closed segment was made that never was an open one.
    pub fn created_closed(&mut self, last: u64) {
        self.made_closed = last;
    }

    /// Whole blocks were written, the first of which may repeat the end of an earlier write.
    pub fn written(&mut self, counter: u64, offset: u64, bytes: &[u8]) {
        let Some(open) = self
            .open
            .iter_mut()
            .find(|open| open.segment.counter == counter)
        else {
            return;
        };
        let Some(next) = open.next_offset else { return };
        let Some(mut at) = next
            .checked_sub(offset)
            .and_then(|at| usize::try_from(at).ok())
        else {
            open.next_offset = None;
            return;
        };
        self.last_index = self.last_index.max(self.made_closed);
        while let Some(batch) = batch_extent(bytes, at) {
            if open.segment.entries == 0 {
                open.segment.first_batch = Some(batch.checksums);
            }
            open.digest = add_to_digest(open.digest, batch.checksums);
            open.segment.entries += batch.entries;
            self.last_index += batch.entries;
            self.last_term = Some(batch.last_term);
            at = batch.end;
        }
        open.next_offset = Some(offset + at as u64);
    }

    /// An open segment has got its name, which says where it ends.
    pub fn closed(&mut self, counter: u64, first: u64, last: u64) {
        let mut open = self.open.iter();
        let open = open.find(|open| open.segment.counter == counter);
        // Where its bytes could not be followed, nothing is said of it.
        if let Some(open) = open.filter(|open| open.segment.entries == last - first + 1) {
            self.closed.push(ClosedSegment {
                first,
                last,
                digest: open.digest,
            });
            self.closed.sort_by_key(|closed| closed.first);
        }
        self.removed(counter);
        let later = self
            .open
            .iter()
            .filter(|open| open.segment.counter > counter);
        self.last_index = last + later.map(|open| open.segment.entries).sum::<u64>();
    }

    /// A snapshot is whole. One that came from the leader reaches farther than the log. Nothing is said of its data
    /// where `end` is none.
    pub fn snapshot(&mut self, index: u64, end: Option<SnapshotEnd>) {
        self.snapshot = end;
        self.snapshot_index = self.snapshot_index.max(index);
        if index > self.last_index {
            self.last_index = index;
            // Its name is not on the disk yet.
            self.last_term = None;
        }
    }

    pub fn removed(&mut self, counter: u64) {
        self.open.retain(|open| open.segment.counter != counter);
    }

    /// A closed segment will be removed: because a snapshot has its entries, or because the leader has others.
    /// Returns whether the log becomes shorter.
    pub fn take_back(&mut self, first: u64, last: u64) -> bool {
        self.closed
            .retain(|closed| (closed.first, closed.last) != (first, last));
        let is_shorter = last > self.snapshot_index && first <= self.last_index;
        if is_shorter {
            self.last_index = self.snapshot_index.max(first.saturating_sub(1));
            self.last_term = None;
            self.made_closed = 0;
        }
        is_shorter
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::test_batch;

    fn batch(entries: usize, bytes: usize) -> Vec<u8> {
        let data = vec![7; bytes];
        test_batch(&vec![(3, 1, &data[..]); entries])
    }

    fn empty() -> State {
        State {
            node_id: NodeId::new(1),
            last_index: 10,
            last_term: Some(2),
            snapshot_index: 0,
            made_closed: 0,
            open: Vec::new(),
            closed: Vec::new(),
            snapshot: None,
        }
    }

    fn segment(batches: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = 1_u64.to_le_bytes().to_vec();
        bytes.extend(batches.concat());
        bytes.resize(bytes.len().next_multiple_of(4096), 0);
        bytes
    }

    #[test]
    fn entries_are_counted_as_their_blocks_are_written() {
        let mut state = empty();
        state.created(2);
        state.created(1);
        let (one, two, three) = (batch(1, 104), batch(2, 4904), batch(3, 8));
        state.written(1, 0, &segment(std::slice::from_ref(&one)));
        assert_eq!(state.last_index, 11);
        // The first block again, and what follows.
        let longer = segment(&[one.clone(), two.clone()]);
        state.written(1, 0, &longer);
        assert_eq!(state.last_index, 13);
        let whole = segment(&[one.clone(), two.clone(), three.clone()]);
        let block = (longer.len() - 4096) as u64;
        state.written(1, block, &whole[block as usize..]);
        assert_eq!(state.last_index, 16);
        let content = state.content(5, false);
        assert_eq!(content.open[0].entries, 6);
        let sums = u64::from_le_bytes(one[..8].try_into().unwrap());
        assert_eq!(content.open[0].first_batch, Some(sums));
        assert_eq!(content.open[1].first_batch, None);
        state.written(2, 0, &segment(&[batch(4, 8)]));
        assert_eq!(state.last_index, 20);
        state.closed(1, 11, 16);
        assert_eq!((state.last_index, state.open.len()), (20, 1));
        state.closed(2, 17, 20);
        assert_eq!((state.last_index, state.open.len()), (20, 0));
        let sums = |batch: &[u8]| u64::from_le_bytes(batch[..8].try_into().unwrap());
        let digest = [&one, &two, &three]
            .iter()
            .fold(0, |digest, batch| add_to_digest(digest, sums(batch)));
        let content = state.content(6, false);
        assert_eq!(content.closed.len(), 2);
        assert_eq!(content.closed[0].digest, digest);
        // Its entries are in a snapshot.
        state.snapshot(16, None);
        assert!(!state.take_back(11, 16));
        assert_eq!(state.content(7, false).closed[..], content.closed[1..]);
    }

    #[test]
    fn nothing_is_said_of_a_segment_that_was_not_followed() {
        let mut state = empty();
        state.created(1);
        state.written(1, 0, &segment(&[batch(2, 8)]));
        state.closed(1, 11, 13);
        assert_eq!(state.content(1, false).closed, []);
    }

    #[test]
    fn the_name_of_a_closed_segment_is_the_truth() {
        let mut state = empty();
        state.created(1);
        state.written(1, 0, &segment(&[batch(5, 8)]));
        state.closed(1, 11, 12);
        assert_eq!(state.last_index, 12);
    }

    #[test]
    fn the_last_entry_is_one_that_was_written_and_not_taken_back() {
        let end = |term, index| Some(LastEntry { term, index });
        let mut state = empty();
        assert_eq!(state.last_entry(), end(2, 10));
        state.created(1);
        let mixed = test_batch(&[(3, 1, &[7; 8][..]), (4, 1, &[7; 8][..])]);
        state.written(1, 0, &segment(&[mixed]));
        assert_eq!(state.last_entry(), end(4, 12));
        state.closed(1, 11, 12);
        state.snapshot(11, None);
        assert_eq!(state.last_entry(), end(4, 12));
        assert!(state.take_back(11, 12));
        assert_eq!(state.last_entry(), None);
        state.created(2);
        state.written(2, 0, &segment(&[batch(1, 8)]));
        assert_eq!(state.last_entry(), end(3, 12));
        state.snapshot(50, None);
        assert_eq!(state.last_entry(), None);
    }

    #[test]
    fn the_first_segment_of_a_new_cluster_counts_with_the_second() {
        let mut state = State {
            last_index: 0,
            ..empty()
        };
        state.created_closed(1);
        state.created(1);
        assert_eq!(state.last_index, 0);
        state.written(1, 0, &segment(&[batch(2, 8)]));
        assert_eq!(state.last_index, 3);
        state.take_back(1, 1);
        state.created(2);
        state.written(2, 0, &segment(&[batch(1, 8)]));
        assert_eq!(state.last_index, 1);
    }

    #[test]
    fn bytes_that_do_not_follow_are_not_counted() {
        let mut state = empty();
        state.created(1);
        state.written(1, 8192, &segment(&[batch(1, 8)]));
        assert_eq!(state.last_index, 10);
        state.written(9, 0, &segment(&[batch(1, 8)]));
        assert_eq!(state.last_index, 10);
    }

    #[test]
    fn only_a_conflict_with_the_leader_makes_the_log_shorter() {
        let mut state = empty();
        state.snapshot(6, None);
        assert!(!state.take_back(1, 6));
        assert_eq!(state.last_index, 10);
        assert!(state.take_back(7, 9));
        assert_eq!(state.last_index, 6);
        assert!(!state.take_back(8, 9));
        state.snapshot(50, None);
        assert_eq!(state.last_index, 50);
    }
}
