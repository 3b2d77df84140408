//! Packed changes for the next delta.

use bytes::Bytes;
use change_batch::Writer;
use etcd_state::mvcc::{Commit, HistoryError, Revision};

use crate::store::Store;

/// Bytes of a delta from which on the rest waits for the next one. Its last batch may exceed that.
pub const DELTA_BYTES: usize = 4 * 1024 * 1024;

/// Changes and bytes of a batch that is packed here, as of one that the writer packs.
const BATCH_CHANGES: usize = 256;
const BATCH_BYTES: usize = 1024 * 1024;

/// The changes of some revisions.
#[derive(Debug)]
pub struct Piece {
    pub batches: Vec<Bytes>,
    pub last: Revision,
}

/// Collects what is above one revision and up to another, which is committed; not all of it if that is much. Fails if it was
/// compacted.
pub fn collect(store: &Store, above: Revision, up_to: Revision) -> Result<Piece, HistoryError> {
    let mut piece = Piece {
        batches: Vec::new(),
        last: above,
    };
    let mut bytes = 0;
    while piece.last < up_to && bytes < DELTA_BYTES {
        let first = piece.last.next();
        let written = store.packed_from(first);
        if let Some(written) = written.filter(|written| written.last <= up_to) {
            bytes += written.blobs.iter().map(Bytes::len).sum::<usize>();
            piece.batches.extend(written.blobs.iter().cloned());
            piece.last = written.last;
            continue;
        }
        let compact_revision = store.history().compact_revision();
        // What a change at the compaction revision replaced is not known after a restart.
        if first <= compact_revision {
            return Err(HistoryError::Compacted { compact_revision });
        }
        let commits = store.history().commits_from(first, BATCH_CHANGES)?;
        let commits = commits.iter().filter(|commit| commit.revision <= up_to);
        let (packed, last) = pack(commits.map(AsRef::as_ref));
        bytes += packed.iter().map(Bytes::len).sum::<usize>();
        piece.batches.extend(packed);
        // A store that was converted, or whose revision was raised, has revisions without a change.
        piece.last = last.unwrap_or(up_to);
    }
    Ok(piece)
}

/// Packs whole commits, and stops at the bytes of a delta, however many follow: a few changes may be large.
fn pack<'a>(commits: impl Iterator<Item = &'a Commit>) -> (Vec<Bytes>, Option<Revision>) {
    let (mut writer, mut packed, mut last) = (Writer::default(), Vec::new(), None);
    let mut finish = |writer: &mut Writer| packed.extend(writer.finish().map(|it| it.blob.into()));
    let mut bytes = 0;
    for commit in commits {
        if bytes >= DELTA_BYTES {
            break;
        }
        for change in &commit.changes {
            // Before they are compressed: how well that goes is known later.
            bytes += change.kv.key.len() + change.kv.value.len();
            writer.push_change(change);
            if writer.content_bytes() >= BATCH_BYTES {
                finish(&mut writer);
            }
        }
        last = Some(commit.revision);
    }
    finish(&mut writer);
    (packed, last)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use etcd_state::mvcc::{Change, ChangeKind, KeyValue, LeaseId};

    use super::*;

    /// Commits of one change each, whose values do not get smaller.
    fn commits(count: i64, value_bytes: usize) -> Vec<Commit> {
        let commit = |revision| {
            let revision = Revision::new(revision);
            let value: Vec<u8> = (0..value_bytes).map(|_| rand::random()).collect();
            let kv = KeyValue {
                key: Bytes::from_static(b"key"),
                value: value.into(),
                create_revision: revision,
                mod_revision: revision,
                version: 1,
                lease: LeaseId::new(0),
                position: 0,
            };
            let change = Change {
                kind: ChangeKind::Put,
                kv: Arc::new(kv),
                prev: None,
            };
            Commit {
                revision,
                changes: vec![change],
            }
        };
        (2..2 + count).map(commit).collect()
    }

    #[test]
    fn few_large_changes_fill_a_delta() {
        let value_bytes = 1024 * 1024;
        let (packed, last) = pack(commits(9, value_bytes).iter());
        assert_eq!(last, Some(Revision::new(5)));
        let bytes: usize = packed.iter().map(Bytes::len).sum();
        assert!(bytes < DELTA_BYTES + value_bytes, "{bytes}");
        let (_, last) = pack(commits(9, 10).iter());
        assert_eq!(last, Some(Revision::new(10)));
    }
}
