//! Two writers, lost answers, and damage.

use std::{
    io::{Read, Seek},
    sync::Arc,
};

use bytes::Bytes;
use etcd_state::mvcc::Revision;
use object_store::{ObjectStore, ObjectStoreExt, local::LocalFileSystem, memory::InMemory};

use super::*;
use crate::{BaseInfo, BaseName, Delta, Digest, Header, Kind};

fn delta(node_id: u64) -> Delta {
    let info = BaseInfo {
        nonce: 7,
        bytes: 8,
        digest: Digest([9; 32]),
    };
    let header = Header {
        kind: Kind::BaseAfterGap(info),
        name: DeltaName::GENESIS,
        cluster_id: 1,
        node_id,
        last: Revision::new(5),
        compact_revision: Revision::NONE,
        ended_ms: 3,
        previous: Digest::NONE,
    };
    Delta {
        header,
        batches: Vec::new(),
        records: Vec::new(),
    }
}

async fn check(store: Arc<dyn ObjectStore>) {
    let objects = Objects::new(store.clone());
    assert!(objects.list().await.unwrap().is_empty());
    let missing = objects.delta(DeltaName::GENESIS).await.unwrap_err();
    assert!(matches!(missing, ObjectError::NotFound { .. }), "{missing}");
    let (put, digest, _) = objects.put_delta(&delta(1)).await.unwrap();
    assert_eq!(put, Put::Written);
    // The answer was lost, and it is written again.
    assert_eq!(objects.put_delta(&delta(1)).await.unwrap().0, Put::Written);
    assert_eq!(objects.put_delta(&delta(2)).await.unwrap().0, Put::Taken);
    let found = objects.delta(DeltaName::GENESIS).await.unwrap();
    assert_eq!(found, (delta(1), digest));
    assert!(objects.has_delta(DeltaName::GENESIS).await.unwrap());
    let listing = objects.list().await.unwrap();
    assert!(listing.deltas.contains_key(&DeltaName::GENESIS));
    let damaged = Bytes::from_static(b"k8sdelta");
    let name = path(DeltaName::GENESIS);
    store.put(&name, damaged.into()).await.unwrap();
    let error = objects.delta(DeltaName::GENESIS).await.unwrap_err();
    assert!(matches!(error, ObjectError::Delta { .. }), "{error}");
    check_base(&objects).await;
}

async fn check_base(objects: &Objects) {
    let name = BaseName {
        revision: Revision::new(5),
        nonce: 7,
    };
    let mut upload = objects.begin_base(name).await.unwrap();
    let part = Bytes::from(vec![1; BaseUpload::PART_BYTES]);
    upload.part(part.clone()).await.unwrap();
    upload.part(Bytes::from_static(b"end")).await.unwrap();
    let info = upload.complete().await.unwrap();
    assert_eq!(info.bytes, part.len() as u64 + 3);
    let mut file = tempfile::tempfile().unwrap();
    let mut seen = 0;
    let progress = |bytes| seen += bytes;
    objects
        .read_base(name, info, &mut file, progress)
        .await
        .unwrap();
    assert_eq!(seen, info.bytes);
    let mut read = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut read).unwrap();
    assert_eq!(&read[part.len()..], b"end");
    let wrong = BaseInfo {
        digest: Digest([0; 32]),
        ..info
    };
    let error = objects.read_base(name, wrong, &mut file, |_| {}).await;
    assert!(matches!(error, Err(ObjectError::Base { .. })));
    assert!(objects.list().await.unwrap().bases.contains_key(&name));
    objects.remove(ObjectName::Base(name)).await.unwrap();
    assert!(objects.list().await.unwrap().bases.is_empty());
}

#[tokio::test]
async fn in_memory() {
    check(Arc::new(InMemory::new())).await;
}

#[tokio::test]
async fn in_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    check(Arc::new(
        LocalFileSystem::new_with_prefix(dir.path()).unwrap(),
    ))
    .await;
}

#[tokio::test]
async fn a_delta_that_nobody_could_read_is_not_written() {
    let objects = Objects::new(Arc::new(InMemory::new()));
    let mut delta = delta(1);
    delta.batches = vec![vec![0; crate::MAX_DELTA_BYTES].into()];
    let error = objects.put_delta(&delta).await.unwrap_err();
    assert!(matches!(error, ObjectError::TooLarge { .. }), "{error}");
    assert!(objects.list().await.unwrap().is_empty());
}
