//! A base while it is made: the server's snapshot in a backup file, part by part.

use std::io::{self, Write};

use archive::{BaseInfo, BaseName, BaseUpload, Objects};
use bytes::Bytes;
use etcd_state::mvcc::Revision;
use tokio::sync::mpsc;

use super::{ArchiveError, metrics::now_ms};
use crate::{
    backup::{BackupWriter, Head, Maker, SnapshotInfo},
    store::{Store, snapshot::SnapshotFile},
};

/// Parts that wait for the store: one is sent while the next is packed.
const PARTS_AHEAD: usize = 1;

/// A base that is complete, and not announced yet.
#[derive(Debug, Clone, Copy)]
pub struct Base {
    pub revision: Revision,
    pub compact_revision: Revision,
    pub info: BaseInfo,
}

/// Writes the store at its current revision.
pub async fn write_base(
    store: &Store,
    objects: &Objects,
    maker: Maker,
) -> Result<Base, ArchiveError> {
    let (snapshot, info) = maker.snapshot(store).await?;
    let (revision, compact_revision) = (snapshot.revision(), snapshot.compact_revision());
    let name = BaseName {
        revision,
        nonce: rand::random(),
    };
    let mut upload = objects.begin_base(name).await?;
    let (sender, mut parts) = mpsc::channel(PARTS_AHEAD);
    let packing = tokio::task::spawn_blocking(move || pack(snapshot, info, sender));
    let sent = async {
        while let Some(part) = parts.recv().await {
            upload.part(part).await?;
        }
        Ok::<_, ArchiveError>(())
    };
    let sent = sent.await;
    // Who packs hears of it, if something failed.
    drop(parts);
    let packed = packing.await.expect("packing does not panic");
    if let Err(error) = sent.and(packed.map_err(ArchiveError::Pack)) {
        upload.abort().await;
        return Err(error);
    }
    Ok(Base {
        revision,
        compact_revision,
        info: upload.complete().await?,
    })
}

fn pack(snapshot: SnapshotFile, info: SnapshotInfo, sender: mpsc::Sender<Bytes>) -> io::Result<()> {
    let created_s = now_ms() / 1000;
    let parts = Parts {
        sender,
        part: Vec::new(),
    };
    let mut writer = BackupWriter::begin(parts, Head { created_s })?;
    for blob in snapshot {
        writer.write(&blob.bytes)?;
    }
    let finished = writer.finish(info)?;
    let (mut parts, _) = finished.ok_or(io::ErrorKind::InvalidData)?;
    parts.send()
}

/// A writer that hands on what it gets in parts of one size.
struct Parts {
    sender: mpsc::Sender<Bytes>,
    part: Vec<u8>,
}

impl Parts {
    fn send(&mut self) -> io::Result<()> {
        let part = std::mem::take(&mut self.part);
        let sent = self.sender.blocking_send(part.into());
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = BaseUpload::PART_BYTES - self.part.len();
        let count = bytes.len().min(room);
        self.part.extend_from_slice(&bytes[..count]);
        if self.part.len() == BaseUpload::PART_BYTES {
            self.send()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
