//! A whole delta.

use bytes::Bytes;
use change_batch::{ChangeRef, ReadError, Reader};
use etcd_state::mvcc::Revision;

use super::{
    Digest, HEADER_BYTES, Header, Record,
    fields::{Fields, put_sized},
    header::Counts,
};
use crate::encryption::is_sealed;

/// The reason why bytes are no delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    #[error("it does not begin like a delta of an archive")]
    Foreign,
    #[error("it is encrypted: give --archive-key-file")]
    Sealed,
    #[error("it has format {0}, which a newer version of k8s-dqlite writes: use that version")]
    Newer(u16),
    #[error("it is cut off")]
    Short,
    #[error("its checksum does not match: it is damaged")]
    Checksum,
    #[error("its header contradicts itself")]
    Header,
    #[error("its content is not what its header counts")]
    Content,
    #[error("a batch in it is damaged: {0}")]
    Batch(#[from] ReadError),
    #[error("it has a change of revision {0}, which is outside of its revisions or out of order")]
    Revision(Revision),
}

/// A delta, in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    pub header: Header,
    /// Packed changes, in the order of revisions.
    pub batches: Vec<Bytes>,
    /// In the order in which they took effect.
    pub records: Vec<Record>,
}

impl Delta {
    /// Returns its bytes, and the digest that the next one names.
    pub fn encode(&self) -> (Vec<u8>, Digest) {
        let count = |length: usize| u32::try_from(length).expect("a delta is far below 4 GiB");
        let mut out = self.header.encode(Counts {
            batches: count(self.batches.len()),
            records: count(self.records.len()),
        });
        for batch in &self.batches {
            put_sized(&mut out, batch);
        }
        for record in &self.records {
            record.append_to(&mut out);
        }
        let digest = Digest::of(&out);
        out.extend_from_slice(&digest.0);
        (out, digest)
    }

    /// Reads a delta, all of which is checked but for what is in its batches: see [`Self::check_changes`].
    ///
    /// # Errors
    ///
    /// The bytes are damaged, cut off, or of a newer version.
    pub fn parse(bytes: &Bytes) -> Result<(Self, Digest), DeltaError> {
        if is_sealed(bytes) {
            return Err(DeltaError::Sealed);
        }
        let (header, counts) = Header::parse_with_counts(bytes)?;
        let Some((content, digest)) = bytes.split_last_chunk::<{ Digest::BYTES }>() else {
            return Err(DeltaError::Short);
        };
        let digest = Digest(*digest);
        if content.len() < HEADER_BYTES {
            return Err(DeltaError::Short);
        }
        if Digest::of(content) != digest {
            return Err(DeltaError::Checksum);
        }
        let mut fields = Fields(&content[HEADER_BYTES..]);
        let (mut batches, mut records) = (Vec::new(), Vec::new());
        for _ in 0..counts.batches {
            let batch = fields.sized().ok_or(DeltaError::Content)?;
            batches.push(bytes.slice_ref(batch));
        }
        for _ in 0..counts.records {
            records.push(Record::take(&mut fields).ok_or(DeltaError::Content)?);
        }
        let are_in_order = records.is_sorted_by_key(|record| record.revision)
            && records.iter().all(|it| it.revision <= header.last);
        if !fields.0.is_empty() || !are_in_order {
            return Err(DeltaError::Content);
        }
        let delta = Self {
            header,
            batches,
            records,
        };
        Ok((delta, digest))
    }

    /// Hands every change to `take`, in order, until that says that it has enough.
    ///
    /// # Errors
    ///
    /// A batch is damaged, or has a change that does not belong into this delta.
    pub fn changes(
        &self,
        mut take: impl FnMut(ChangeRef<'_>) -> std::ops::ControlFlow<()>,
    ) -> Result<(), DeltaError> {
        let revisions = self.header.first()..=self.header.last;
        let mut last = None;
        for batch in &self.batches {
            let mut reader = Reader::open(batch)?;
            while let Some(change) = reader.next_change()? {
                let row_id = change.row_id();
                if !revisions.contains(&change.revision) || Some(row_id) <= last {
                    return Err(DeltaError::Revision(change.revision));
                }
                last = Some(row_id);
                if take(change).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Reads all changes, and returns how many there are.
    ///
    /// # Errors
    ///
    /// As [`Self::changes`].
    pub fn check_changes(&self) -> Result<u64, DeltaError> {
        let mut count = 0;
        self.changes(|_| {
            count += 1;
            std::ops::ControlFlow::Continue(())
        })?;
        Ok(count)
    }
}
