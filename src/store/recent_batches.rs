//! The batches that this node has written last, packed as the database has them, for the followers and the archive: who
//! keeps up gets them as they are, and nothing is packed twice.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use change_batch::{ReadError, Reader};
use etcd_state::mvcc::Revision;

use super::{Row, batch::Batch};

/// The newest format of a packed batch that this program knows.
pub const BATCH_FORMAT: u32 = change_batch::FORMAT as u32;

/// Bytes that are kept: a follower that is further behind gets rows from the history.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Bytes that are kept for an archive that cannot be reached. Beyond this it takes what it lacks from the history, and a new
/// base once that is compacted.
const MAX_HELD_BYTES: usize = 64 * 1024 * 1024;

/// Bytes of a batch that is kept: a message to a follower has one.
const MAX_BATCH_BYTES: usize = 1024 * 1024;

/// All changes of some revisions, one after the other.
#[derive(Debug, PartialEq, Eq)]
pub struct PackedBatch {
    first: Revision,
    pub last: Revision,
    /// The contents of rows of table `batch`, in order.
    pub blobs: Vec<Bytes>,
}

impl PackedBatch {
    fn bytes(&self) -> usize {
        self.blobs.iter().map(Bytes::len).sum()
    }
}

#[derive(Debug, Default)]
pub struct RecentBatches(Mutex<Recent>);

#[derive(Debug, Default)]
struct Recent {
    /// In ascending order.
    batches: VecDeque<Arc<PackedBatch>>,
    bytes: usize,
    /// The archive lacks what is above this revision; none if there is no archive.
    held_above: Option<Revision>,
    /// Bytes of the batches above that revision, kept or not.
    held_bytes: usize,
}

impl RecentBatches {
    /// Keeps what a batch was written as.
    pub fn push(&self, batch: &Batch, blobs: Vec<Bytes>) {
        let (Some(first), Some(last)) = (batch.commits.first(), batch.commits.last()) else {
            return;
        };
        let packed = PackedBatch {
            first: first.revision,
            last: last.revision,
            blobs,
        };
        let bytes = packed.bytes();
        if bytes == 0 {
            return;
        }
        let mut recent = self.lock();
        recent.held_bytes += bytes;
        if bytes > MAX_BATCH_BYTES {
            return;
        }
        recent.bytes += bytes;
        recent.batches.push_back(Arc::new(packed));
        recent.forget_old();
    }

    /// Keeps what is above a revision for the archive, within bounds.
    pub fn hold_above(&self, revision: Revision) {
        let mut recent = self.lock();
        recent.held_above = Some(revision);
        let newest_first = recent.batches.iter().rev();
        let held = newest_first.take_while(|batch| batch.last > revision);
        recent.held_bytes = held.map(|batch| batch.bytes()).sum();
        recent.forget_old();
    }

    /// Returns whether an archive wants them.
    pub fn is_held(&self) -> bool {
        self.lock().held_above.is_some()
    }

    /// Returns about how many bytes the archive lacks.
    pub fn held_bytes(&self) -> usize {
        self.lock().held_bytes
    }

    /// Returns the batch that begins with a revision.
    pub fn beginning_with(&self, first: Revision) -> Option<Arc<PackedBatch>> {
        let recent = self.lock();
        let at = recent.batches.binary_search_by_key(&first, |it| it.first);
        Some(recent.batches[at.ok()?].clone())
    }

    /// Forgets all of them: another node may have written since.
    pub fn clear(&self) {
        let mut recent = self.lock();
        *recent = Recent {
            held_above: recent.held_above,
            ..Recent::default()
        };
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.0.lock().expect("no panic while it is held")
    }
}

impl Recent {
    fn forget_old(&mut self) {
        while let Some(oldest) = self.batches.front() {
            let is_held = self.held_above.is_some_and(|above| oldest.last > above);
            let limit = if is_held { MAX_HELD_BYTES } else { MAX_BYTES };
            if self.bytes <= limit {
                return;
            }
            self.bytes -= oldest.bytes();
            self.batches.pop_front();
        }
    }
}

/// Returns the changes in a batch that the leader sent.
pub fn unpack(blob: &[u8]) -> Result<Vec<Row>, ReadError> {
    let mut rows = Vec::new();
    let mut reader = Reader::open(blob)?;
    while let Some(change) = reader.next_change()? {
        rows.push(Row::from(change));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use etcd_state::mvcc::Commit;

    use super::*;

    fn push(recent: &RecentBatches, revisions: std::ops::RangeInclusive<i64>, bytes: usize) {
        let mut batch = Batch::default();
        for revision in revisions {
            batch.push(Arc::new(Commit {
                revision: Revision::new(revision),
                changes: Vec::new(),
            }));
        }
        recent.push(&batch, vec![vec![0; bytes].into()]);
    }

    fn last(recent: &RecentBatches, first: i64) -> Option<i64> {
        let found = recent.beginning_with(Revision::new(first))?;
        Some(found.last.number())
    }

    #[test]
    fn a_batch_is_found_by_its_first_revision_only() {
        let recent = RecentBatches::default();
        push(&recent, 2..=4, 100);
        push(&recent, 5..=5, 100);
        push(&recent, 9..=12, 100);
        let found: Vec<_> = (1..=13).map(|first| last(&recent, first)).collect();
        let mut expected = [None; 13];
        (expected[1], expected[4], expected[8]) = (Some(4), Some(5), Some(12));
        assert_eq!(found, expected);
        recent.clear();
        assert_eq!(last(&recent, 2), None);
    }

    #[test]
    fn old_and_large_ones_are_not_kept() {
        let recent = RecentBatches::default();
        push(&recent, 2..=2, MAX_BATCH_BYTES + 1);
        assert_eq!(last(&recent, 2), None);
        // The archive lacks it nevertheless.
        assert_eq!(recent.held_bytes(), MAX_BATCH_BYTES + 1);
        for revision in 3..=7 {
            push(&recent, revision..=revision, MAX_BATCH_BYTES);
        }
        assert_eq!((last(&recent, 3), last(&recent, 4)), (None, Some(4)));
        assert_eq!(recent.lock().bytes, MAX_BYTES);
    }

    #[test]
    fn what_the_archive_lacks_is_kept_within_bounds() {
        let recent = RecentBatches::default();
        assert!(!recent.is_held());
        recent.hold_above(Revision::new(3));
        let count = (MAX_HELD_BYTES / MAX_BATCH_BYTES) as i64;
        for revision in 2..2 + count {
            push(&recent, revision..=revision, MAX_BATCH_BYTES);
        }
        // The first two are in the archive.
        assert_eq!((last(&recent, 3), last(&recent, 4)), (None, Some(4)));
        recent.hold_above(Revision::new(4));
        assert_eq!(last(&recent, 4), None);
        assert_eq!(recent.held_bytes(), (count as usize - 3) * MAX_BATCH_BYTES);
        for revision in 2 + count..9 + count {
            push(&recent, revision..=revision, MAX_BATCH_BYTES);
        }
        assert_eq!(recent.lock().bytes, MAX_HELD_BYTES);
        recent.clear();
        assert!(recent.is_held());
    }

    #[test]
    fn what_is_no_batch_is_refused() {
        assert!(unpack(b"").is_err());
        assert!(unpack(&[1, 0, 0, 0, 0, 0, 7]).is_err());
    }
}
