use std::sync::Arc;

use bbolt::Reader;
use bytes::Bytes;
use dqlite::wire::{NodeId, Role, Server};
use etcd_state::{
    lease::LeaseCopy,
    mvcc::{Change, ChangeKind, Commit, History, KeyValue, LeaseId, Revision},
    settings::{SettingChange, Settings, Space},
};
use prost::Message;
use tokio::sync::Semaphore;

use super::{content::StoredLease, *};

static PERMITS: Semaphore = Semaphore::const_new(8);

/// Puts of values of these lengths, one revision each.
fn history(value_bytes: impl Iterator<Item = usize>) -> History {
    let history = History::new();
    let mut tree = history.head().tree.clone();
    for (revision, bytes) in (2..).zip(value_bytes) {
        let kv = Arc::new(KeyValue {
            key: Bytes::from(format!("key {revision}")),
            value: vec![b'v'; bytes].into(),
            create_revision: Revision::new(revision),
            mod_revision: Revision::new(revision),
            version: 1,
            lease: LeaseId::NONE,
            position: 0,
        });
        tree.insert(Arc::clone(&kv));
        let change = Change {
            kind: ChangeKind::Put,
            kv,
            prev: None,
        };
        let changes = vec![change];
        let commit = Arc::new(Commit {
            revision: Revision::new(revision),
            changes,
        });
        history.append(&[commit], tree.clone());
    }
    history
}

fn file(history: &History, leases: Vec<LeaseCopy>, settings: Settings) -> SnapshotFile {
    let content = Content {
        versions: history.versions(Revision::NONE).unwrap(),
        leases,
        settings,
        origin: Origin {
            member_id: 7,
            raft_term: 3,
            members: members(),
        },
    };
    SnapshotFile::new(content, Some(PERMITS.try_acquire().unwrap()))
}

/// In the order of bytes, the second comes first.
fn members() -> Vec<StoredMember> {
    let member = |id| {
        let server = Server {
            id: NodeId::new(id),
            address: format!("10.0.0.{id}:9000"),
            role: Role::Voter,
        };
        StoredMember::new(&server, format!("https://{}", server.address))
    };
    [9, 0x10].map(member).to_vec()
}

/// The whole file without the checksum, which is checked.
fn whole(file: SnapshotFile) -> Vec<u8> {
    let mut remaining = file.remaining_bytes();
    let mut blobs: Vec<_> = file.collect();
    let checksum = blobs.pop().unwrap();
    let mut whole = Vec::new();
    for blob in blobs {
        assert!(blob.bytes.len() == BLOB_BYTES || blob.remaining_bytes == 0);
        remaining -= blob.bytes.len() as u64;
        assert_eq!(blob.remaining_bytes, remaining);
        whole.extend_from_slice(&blob.bytes);
    }
    assert_eq!(remaining, 0);
    assert_eq!(checksum.bytes, openssl::sha::sha256(&whole));
    whole
}

fn entries(file: &[u8], bucket: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut reader = Reader::open(file).unwrap();
    let mut bucket = reader.bucket(bucket.as_bytes()).unwrap().unwrap();
    let mut entries = Vec::new();
    while let Some(entry) = bucket.next(&mut reader).unwrap() {
        entries.push((entry.key.to_vec(), entry.value.to_vec()));
    }
    entries
}

#[test]
fn the_rows_are_all_versions_whatever_their_size() {
    let sizes = || (0..300).map(|index| index * index % 9973);
    let history = history(sizes());
    let rows = entries(
        &whole(file(&history, Vec::new(), Settings::default())),
        "key",
    );
    assert_eq!(rows.len(), 300);
    for ((revision, bytes), (key, value)) in (2..).zip(sizes()).zip(rows) {
        let expected = row::RowKey {
            revision: Revision::new(revision),
            position: 0,
            is_tombstone: false,
        };
        assert_eq!(row::RowKey::parse(&key), Some(expected));
        let stored = etcd_proto::mvccpb::KeyValue::decode(&value[..]).unwrap();
        assert_eq!((stored.mod_revision, stored.value.len()), (revision, bytes));
    }
}

#[test]
fn an_empty_store_is_a_file_with_all_buckets() {
    let file = whole(file(&History::new(), Vec::new(), Settings::default()));
    let names = Reader::open(&file[..]).unwrap().buckets().unwrap();
    let expected: Vec<&[u8]> = vec![
        b"alarm",
        b"auth",
        b"authRoles",
        b"authUsers",
        b"cluster",
        b"key",
        b"lease",
        b"members",
        b"members_removed",
        b"meta",
    ];
    assert_eq!(names, expected);
    assert_eq!(entries(&file, "key"), []);
    let meta: Vec<_> = entries(&file, "meta").into_iter().map(|e| e.0).collect();
    assert!(!meta.contains(&b"finishedCompactRev".to_vec()));
}

#[test]
fn leases_come_with_what_is_left_of_them_and_settings_with_their_names() {
    let copy = |id, granted_ttl_s, remaining_s| LeaseCopy {
        id: LeaseId::new(id),
        granted_ttl_s,
        remaining_s,
    };
    let leases = vec![copy(-5, 10, 10), copy(-1, 10, 4), copy(3, 60, 60)];
    let mut settings = Settings::default();
    settings.apply(SettingChange {
        space: Space::User,
        name: "root".into(),
        value: Some("encoded".into()),
    });
    let file = whole(file(&History::new(), leases, settings));
    let stored = |(key, value): (Vec<u8>, Vec<u8>)| {
        let lease = StoredLease::decode(&value[..]).unwrap();
        assert_eq!(key, lease.id.to_be_bytes());
        (lease.id, lease.ttl_s, lease.remaining_ttl_s)
    };
    let found: Vec<_> = entries(&file, "lease").into_iter().map(stored).collect();
    assert_eq!(found, [(3, 60, 0), (-5, 10, 0), (-1, 10, 4)]);
    let user = (b"root".to_vec(), b"encoded".to_vec());
    assert_eq!(entries(&file, "authUsers"), [user]);
}

#[test]
fn the_members_are_those_of_the_cluster_by_their_ids() {
    let file = whole(file(&History::new(), Vec::new(), Settings::default()));
    let entry = |(key, value): (Vec<u8>, Vec<u8>)| {
        let member = StoredMember::from_json(&value).unwrap();
        (String::from_utf8(key).unwrap(), member)
    };
    let found: Vec<_> = entries(&file, MEMBERS).into_iter().map(entry).collect();
    let [nine, sixteen] = <[_; 2]>::try_from(members()).unwrap();
    let expected = [("10".to_owned(), sixteen), ("9".to_owned(), nine)];
    assert_eq!(found, expected);
}
