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

fn pack<'a>(commits: impl Iterator<Item = &'a Commit>) -> (Vec<Bytes>, Option<Revision>) {
    let (mut writer, mut packed, mut last) = (Writer::default(), Vec::new(), None);
    let mut finish = |writer: &mut Writer| packed.extend(writer.finish().map(|it| it.blob.into()));
    for commit in commits {
        for change in &commit.changes {
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
