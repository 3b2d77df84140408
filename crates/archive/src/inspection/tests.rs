//! Archives that are whole, and archives of which something was taken or changed.

use std::sync::Arc;

use bytes::Bytes;
use change_batch::Writer;
use etcd_state::mvcc::{ChangeKind, KeyValue, LeaseId};
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};

use super::*;
use crate::{BaseInfo, BaseName, Delta, Digest, Header, Kind, ObjectName, Objects};

struct Archive {
    store: Arc<dyn ObjectStore>,
    objects: Objects,
    end: Option<(DeltaName, Digest)>,
    ended_ms: u64,
}

impl Archive {
    fn new() -> Self {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        Self {
            objects: Objects::new(Arc::clone(&store)),
            store,
            end: None,
            ended_ms: 0,
        }
    }

    async fn put(&mut self, kind: Kind, last: i64, batches: Vec<Bytes>) {
        self.ended_ms += 1000;
        let (name, previous) = self.end.unwrap_or((DeltaName::GENESIS, Digest::NONE));
        let header = Header {
            kind,
            name,
            cluster_id: 7,
            node_id: 1,
            last: Revision::new(last),
            compact_revision: Revision::NONE,
            ended_ms: self.ended_ms,
            previous,
        };
        let following = header.next_name().unwrap();
        let delta = Delta {
            header,
            batches,
            records: Vec::new(),
        };
        let (_, digest, _) = self.objects.put_delta(&delta).await.unwrap();
        self.end = Some((following, digest));
    }

    async fn put_base(&mut self, revision: i64, nonce: u64) -> BaseInfo {
        let name = BaseName {
            revision: Revision::new(revision),
            nonce,
        };
        let mut upload = self.objects.begin_base(name).await.unwrap();
        let content = format!("the store at {revision}");
        upload.part(content.into()).await.unwrap();
        upload.complete().await.unwrap()
    }

    /// Changes of ten revisions.
    async fn put_changes(&mut self) {
        let first = self.end.unwrap().0.first.number();
        let mut writer = Writer::default();
        for revision in first..first + 10 {
            let put = KeyValue {
                key: Bytes::from_static(b"key"),
                value: Bytes::from_static(b"value"),
                create_revision: Revision::new(revision),
                mod_revision: Revision::new(revision),
                version: 1,
                lease: LeaseId::NONE,
                position: 0,
            };
            writer.push(ChangeKind::Put, &put, Revision::NONE);
        }
        let batch = writer.finish().unwrap().blob.into();
        let kind = Kind::Changes {
            has_all_records: false,
        };
        self.put(kind, first + 9, vec![batch]).await;
    }

    /// A base at 5, changes up to 25, a base there, changes up to 35.
    async fn whole() -> Self {
        let mut archive = Self::new();
        let info = archive.put_base(5, 1).await;
        archive.put(Kind::BaseAfterGap(info), 5, Vec::new()).await;
        archive.put_changes().await;
        archive.put_changes().await;
        let info = archive.put_base(25, 2).await;
        archive.put(Kind::Base(info), 25, Vec::new()).await;
        archive.put_changes().await;
        archive
    }

    async fn names(&self) -> Vec<Path> {
        let listing = self.objects.list().await.unwrap();
        let bases = listing.bases.keys().map(|name| name.to_string());
        let deltas = listing.deltas.keys().map(|name| name.to_string());
        bases.chain(deltas).map(Path::from).collect()
    }

    async fn verify(&self) -> Result<Verified, InspectionError> {
        verify(&self.objects, |_| {}).await
    }
}

#[tokio::test]
async fn a_whole_archive_is_told_in_numbers() {
    let mut archive = Archive::whole().await;
    let verified = archive.verify().await.unwrap();
    assert_eq!((verified.bases, verified.deltas), (2, 5));
    assert_eq!(
        (verified.first, verified.last),
        (Revision::new(5), Revision::new(35))
    );
    assert_eq!((verified.cluster_id, verified.ended_ms), (7, 5000));
    assert!(verified.gaps.is_empty());
    let found = contents(&archive.objects).await.unwrap();
    assert_eq!(verified.bytes, found.bytes());
    assert_eq!(found.announcements.len(), 2);
    assert!(found.unannounced.is_empty());

    let info = archive.put_base(50, 3).await;
    archive.put_base(40, 4).await;
    archive.put(Kind::BaseAfterGap(info), 50, Vec::new()).await;
    let verified = archive.verify().await.unwrap();
    let gap = Gap {
        first: Revision::new(36),
        last: Revision::new(49),
    };
    assert_eq!(verified.gaps, [gap]);
    let found = contents(&archive.objects).await.unwrap();
    assert_eq!(found.announcements.len(), 3);
    assert_eq!(found.unannounced.len(), 1);
}

#[tokio::test]
async fn an_object_that_is_missing_or_changed_is_noticed() {
    let names = Archive::whole().await.names().await;
    for at in 0..names.len() {
        let archive = Archive::whole().await;
        let name = &archive.names().await[at];
        let content = archive
            .store
            .get(name)
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
        archive.store.delete(name).await.unwrap();
        // Without its last delta an archive ends earlier. Without its first one it begins later, and some are left over.
        let (is_last, is_first) = (at + 1 == names.len(), at == 2);
        match archive.verify().await {
            Ok(verified) => {
                assert!(is_last || is_first, "{name}");
                assert_eq!(verified.unreachable, if is_first { 2 } else { 0 });
            }
            Err(_) => assert!(!is_last && !is_first, "{name}"),
        }
        for bit in [0, content.len() * 4, content.len() * 8 - 1] {
            let mut changed = content.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            archive.store.put(name, changed.into()).await.unwrap();
            assert!(archive.verify().await.is_err(), "{name}");
        }
        archive.store.put(name, content.into()).await.unwrap();
        archive.verify().await.unwrap();
    }
}

#[tokio::test]
async fn what_is_left_after_a_removal_is_whole_at_each_step() {
    let archive = Archive::whole().await;
    let found = contents(&archive.objects).await.unwrap();
    let policy = crate::retention::Policy {
        age: std::time::Duration::ZERO,
        bases: std::num::NonZeroUsize::MIN,
    };
    let clocks = found.clocks(u64::MAX);
    let removal = crate::retention::plan(&found.listing, &found.announcements, &policy, clocks);
    assert_eq!((removal.deltas.len(), removal.bases.len()), (3, 1));
    for name in &removal.deltas {
        archive
            .objects
            .remove(ObjectName::Delta(*name))
            .await
            .unwrap();
        // An interruption leaves deltas to which no base leads, and everything that is kept.
        let verified = archive.verify().await.unwrap();
        assert_eq!(verified.last, Revision::new(35));
    }
    for name in &removal.bases {
        archive
            .objects
            .remove(ObjectName::Base(*name))
            .await
            .unwrap();
    }
    let verified = archive.verify().await.unwrap();
    assert_eq!((verified.bases, verified.deltas), (1, 2));
    assert_eq!(verified.first, Revision::new(25));
    let empty = Archive::new().verify().await;
    assert!(matches!(
        empty,
        Err(InspectionError::Chain(crate::ChainError::Empty))
    ));
}
