//! An archive in a real place: written, looked at, checked and thinned out.

use std::{
    fs,
    num::NonZeroUsize,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use archive::{
    BaseName, Delta, DeltaName, Digest, Header, Kind, ObjectError, ObjectName, Objects, Put,
    inspection,
    place::{Place, PlaceOptions, open},
    retention::{self, Policy},
};
use etcd_state::mvcc::Revision;

use crate::server::{BUCKET, Server, Wire};

/// Bytes of a base: two parts and a bit.
const BASE_BYTES: usize = 2 * archive::BaseUpload::PART_BYTES + 77;

/// A base after each of so many deltas, and how many bases.
const DELTAS: i64 = 4;
const BASES: i64 = 3;

/// Writes an archive; its deltas hold no batches, which a place does not look at.
async fn write(objects: &Objects) -> DeltaName {
    let mut next = (DeltaName::GENESIS, Digest::NONE);
    for number in 0..BASES {
        let revision = Revision::new(number * DELTAS + 5);
        let name = BaseName { revision, nonce: 1 };
        let mut upload = objects.begin_base(name).await.unwrap();
        let content = vec![number as u8; BASE_BYTES];
        for part in content.chunks(archive::BaseUpload::PART_BYTES) {
            upload.part(part.to_vec().into()).await.unwrap();
        }
        let info = upload.complete().await.unwrap();
        let kind = match number {
            0 => Kind::BaseAfterGap(info),
            _ => Kind::Base(info),
        };
        next = put(objects, next, kind, revision).await;
        for at in 1..=DELTAS {
            let kind = Kind::Changes {
                has_all_records: true,
            };
            next = put(objects, next, kind, Revision::new(revision.number() + at)).await;
        }
    }
    next.0
}

async fn put(
    objects: &Objects,
    (name, previous): (DeltaName, Digest),
    kind: Kind,
    last: Revision,
) -> (DeltaName, Digest) {
    let header = Header {
        kind,
        name,
        cluster_id: 0xabc,
        node_id: 1,
        last,
        compact_revision: Revision::NONE,
        ended_ms: 1000 * last.number() as u64,
        previous,
    };
    let next = header.next_name().unwrap();
    let mut delta = Delta {
        header,
        batches: Vec::new(),
        records: Vec::new(),
    };
    let (put, digest, _) = objects.put_delta(&delta).await.unwrap();
    assert_eq!(put, Put::Written);
    assert_eq!(objects.put_delta(&delta).await.unwrap().0, Put::Written);
    delta.header.node_id = 2;
    assert_eq!(objects.put_delta(&delta).await.unwrap().0, Put::Taken);
    (next, digest)
}

async fn check(place: &Place) {
    let objects = Objects::new(Arc::clone(place.store()));
    let empty = inspection::contents(&objects).await;
    assert!(empty.unwrap_err().to_string().contains("no base"));
    let next = write(&objects).await;
    let missing = objects.delta(next).await.unwrap_err();
    assert!(matches!(missing, ObjectError::NotFound { .. }), "{missing}");
    let mut read = 0;
    let verified = inspection::verify(&objects, |bytes| read += bytes)
        .await
        .unwrap();
    assert_eq!(verified.bases, BASES as u64);
    assert_eq!(verified.deltas, (BASES * (DELTAS + 1)) as u64);
    assert!(read > (BASES as usize * BASE_BYTES) as u64);
    let found = inspection::contents(&objects).await.unwrap();
    assert_eq!(found.bytes(), verified.bytes);
    let policy = Policy {
        age: Duration::ZERO,
        bases: NonZeroUsize::MIN,
    };
    let clocks = found.clocks(u64::MAX);
    let removal = retention::plan(&found.listing, &found.announcements, &policy, clocks);
    let deltas = removal.deltas.iter().copied().map(ObjectName::Delta);
    let bases = removal.bases.iter().copied().map(ObjectName::Base);
    for name in deltas.chain(bases) {
        objects.remove(name).await.unwrap();
    }
    let left = inspection::verify(&objects, |_| {}).await.unwrap();
    assert_eq!((left.bases, left.deltas), (1, DELTAS as u64 + 1));
    assert_eq!(left.last, verified.last);
}

#[tokio::test]
async fn an_archive_is_kept_in_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}", dir.path().display());
    check(&open(&url, &PlaceOptions::default()).unwrap()).await;
}

fn key_file(path: &Path, digit: &str) -> PathBuf {
    fs::write(path, digit.repeat(64)).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_owned()
}

#[tokio::test]
async fn an_archive_is_sealed_with_a_key_and_opens_with_it_alone() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}", dir.path().display());
    let with = |name: &str, digit: &str| PlaceOptions {
        key_file: Some(key_file(&dir.path().join(name), digit)),
        ..PlaceOptions::default()
    };
    let (own, other) = (with(".own", "a"), with(".other", "b"));
    check(&open(&url, &own).unwrap()).await;
    for options in [other, PlaceOptions::default()] {
        let place = open(&url, &options).unwrap();
        let objects = Objects::new(Arc::clone(place.store()));
        assert!(inspection::verify(&objects, |_| {}).await.is_err());
    }
}

#[tokio::test]
async fn an_archive_is_kept_in_a_bucket() {
    let Some(server) = Server::start(Wire::Tls).await else {
        return;
    };
    check(&server.place()).await;
    let sealed = PlaceOptions {
        key_file: Some(key_file(&server.file("key"), "c")),
        ..server.options()
    };
    let url = server.url(BUCKET).replace("one", "sealed");
    check(&open(&url, &sealed).unwrap()).await;
}
