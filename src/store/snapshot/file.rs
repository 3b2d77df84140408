//! The file, made while it is read: blob after blob, then its checksum.

use bbolt::Writer;
use etcd_state::{
    lease::LeaseCopy,
    mvcc::{History, Revision, VersionsCursor},
    settings::Settings,
};
use openssl::sha::Sha256;
use tokio::sync::SemaphorePermit;

use super::{
    content::{Content, Origin},
    row,
};

/// Bytes that are handed out at a time, as etcd does: some 50 us of work.
pub const BLOB_BYTES: usize = 32 * 1024;

/// An iterator over the file in blobs of [`BLOB_BYTES`], the last one perhaps shorter, and then the
/// 32 bytes of its SHA-256.
pub struct SnapshotFile {
    content: Content,
    writer: Writer,
    stage: Stage,
    hash: Option<Sha256>,
    remaining_bytes: u64,
    row: Vec<u8>,
    /// Returned when the file is dropped.
    _permit: Option<SemaphorePermit<'static>>,
}

enum Stage {
    Begin,
    Rows(VersionsCursor),
    Done,
}

pub struct Blob {
    pub bytes: Vec<u8>,
    /// The bytes of the file that come after this part.
    pub remaining_bytes: u64,
}

impl SnapshotFile {
    /// Looks at every version once, to know the length of the file: not for a thread that serves
    /// requests.
    pub(super) fn new(content: Content, permit: Option<SemaphorePermit<'static>>) -> Self {
        let plan = content.measure();
        Self {
            content,
            writer: Writer::new(plan),
            stage: Stage::Begin,
            hash: Some(Sha256::new()),
            remaining_bytes: plan.file_bytes(),
            row: Vec::new(),
            _permit: permit,
        }
    }

    /// The current revision of a store that nothing writes to, and nothing compacts.
    pub fn of_history(
        history: &History,
        leases: Vec<LeaseCopy>,
        settings: Settings,
        origin: Origin,
    ) -> Self {
        let content = Content {
            versions: history
                .versions(Revision::NONE)
                .expect("nothing compacts it meanwhile"),
            leases,
            settings,
            origin,
        };
        Self::new(content, None)
    }

    pub fn revision(&self) -> Revision {
        self.content.versions.revision
    }

    pub fn compact_revision(&self) -> Revision {
        self.content.versions.compact_revision
    }

    /// Returns the bytes that are left of the file, without the checksum.
    pub fn remaining_bytes(&self) -> u64 {
        self.remaining_bytes
    }

    fn fill(&mut self) {
        while self.writer.pages().len() < BLOB_BYTES {
            match &mut self.stage {
                Stage::Begin => {
                    self.content.begin(&mut self.writer);
                    self.stage = Stage::Rows(VersionsCursor::default());
                }
                Stage::Rows(cursor) => match self.content.versions.next(cursor) {
                    Some(kv) => {
                        self.row.clear();
                        row::RowKey::of(kv).append_to(&mut self.row);
                        let key_bytes = self.row.len();
                        row::append_value(kv, &mut self.row);
                        let (key, value) = self.row.split_at(key_bytes);
                        self.writer.entry(key, value);
                    }
                    None => {
                        self.content.end(&mut self.writer);
                        self.writer.finish();
                        self.stage = Stage::Done;
                    }
                },
                Stage::Done => return,
            }
        }
    }
}

impl Drop for SnapshotFile {
    /// Drops the versions on a blocking thread: if they were compacted meanwhile, these are the
    /// last references, and freeing them takes time in proportion to them.
    fn drop(&mut self) {
        let versions = std::mem::take(&mut self.content.versions);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(versions));
        }
    }
}

impl Iterator for SnapshotFile {
    type Item = Blob;

    fn next(&mut self) -> Option<Blob> {
        self.fill();
        let pages = self.writer.pages();
        if pages.is_empty() {
            let bytes = self.hash.take()?.finish().to_vec();
            return Some(Blob {
                bytes,
                remaining_bytes: 0,
            });
        }
        let rest = pages.split_off(pages.len().min(BLOB_BYTES));
        let bytes = std::mem::replace(pages, rest);
        if let Some(hash) = &mut self.hash {
            hash.update(&bytes);
        }
        self.remaining_bytes -= bytes.len() as u64;
        Some(Blob {
            bytes,
            remaining_bytes: self.remaining_bytes,
        })
    }
}
