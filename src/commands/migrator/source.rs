//! The source of a copy: a server, or the file of a snapshot or backup. Either gives the leases and
//! all entries of one revision.

use std::{
    collections::{BTreeMap, btree_map},
    path::Path,
};

use bbolt::Reader;
use etcd_proto::{
    etcdserverpb::{LeaseLeasesRequest, LeaseTimeToLiveRequest},
    mvccpb::KeyValue,
};
use etcd_state::mvcc::Revision;
use prost::Message;
use tokio::task::JoinSet;

use super::{
    MigrateError,
    entry::Entry,
    pages::{Header, KeySpan, Pages},
};
use crate::{
    backup::Scratch,
    commands::restore::{RestoreError, SnapshotSource},
    remote::Remote,
    store::snapshot::{StoredLease, row::RowKey},
};

/// Questions about leases under way.
const MAX_AT_ONCE: usize = 32;

/// A lease, and what is left of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    pub id: i64,
    pub remaining_s: i64,
}

pub enum Entries {
    Server(Box<Pages>),
    File(Box<FileEntries>),
}

impl Entries {
    pub async fn next(&mut self) -> Result<Option<Entry>, MigrateError> {
        match self {
            Self::Server(pages) => pages.next().await,
            Self::File(file) => file.next(),
        }
    }
}

/// The leases of a server that are still there. The Go k8s-dqlite cannot tell them.
pub async fn leases(remote: &Remote, header: Header) -> Result<Vec<Lease>, MigrateError> {
    if header.is_of_go() {
        return Ok(Vec::new());
    }
    let listed = remote
        .lease
        .clone()
        .lease_leases(LeaseLeasesRequest {})
        .await;
    let listed = listed
        .map_err(|status| remote.failed(&status))?
        .into_inner();
    let mut asking = JoinSet::new();
    let mut leases = Vec::new();
    let mut ids = listed.leases.into_iter().map(|lease| lease.id);
    loop {
        while asking.len() < MAX_AT_ONCE
            && let Some(id) = ids.next()
        {
            let mut client = remote.lease.clone();
            asking.spawn(async move {
                let request = LeaseTimeToLiveRequest { id, keys: false };
                client.lease_time_to_live(request).await
            });
        }
        let Some(asked) = asking.join_next().await else {
            break;
        };
        let asked = asked.expect("asking does not panic");
        let asked = asked.map_err(|status| remote.failed(&status))?.into_inner();
        // Less than zero is none: it has ended meanwhile.
        if asked.ttl >= 0 {
            leases.push(Lease {
                id: asked.id,
                remaining_s: asked.ttl.max(1),
            });
        }
    }
    Ok(leases)
}

/// All entries of a server.
pub fn entries(remote: &Remote, header: Header) -> Entries {
    let span = span_of(header);
    let pages = Pages::new(remote.clone(), &span, header.revision);
    Entries::Server(Box::new(pages))
}

/// Returns the keys of a server that are copied.
pub fn span_of(header: Header) -> KeySpan {
    match header.is_of_go() {
        true => KeySpan::BELOW_SLASH,
        false => KeySpan::ALL,
    }
}

/// A snapshot that was checked. Its rows are in the order of revisions, and a copy goes in that of keys: so
/// all live keys are in memory, without their values.
pub struct FileSource {
    reader: Reader<SnapshotSource>,
    live: BTreeMap<Vec<u8>, RowKey>,
    pub revision: Revision,
    pub leases: Vec<Lease>,
}

impl FileSource {
    pub fn open(path: &Path) -> Result<Self, MigrateError> {
        let scratch = Scratch::beside(path, None);
        let source = SnapshotSource::open(path, false, &scratch)?;
        let unusable = |error: String| RestoreError::NoSnapshot {
            path: path.to_owned(),
            reason: error,
        };
        let mut reader = Reader::open(source).map_err(|error| unusable(error.to_string()))?;
        let (live, revision) = read_keys(&mut reader).map_err(unusable)?;
        let leases = read_leases(&mut reader).map_err(unusable)?;
        Ok(Self {
            reader,
            live,
            revision,
            leases,
        })
    }

    pub fn count(&self) -> u64 {
        self.live.len() as u64
    }

    pub fn entries(self) -> (FileEntries, u64) {
        let count = self.count();
        let entries = FileEntries {
            reader: self.reader,
            live: self.live.into_iter(),
        };
        (entries, count)
    }
}

type Live = BTreeMap<Vec<u8>, RowKey>;

fn read_keys(reader: &mut Reader<SnapshotSource>) -> Result<(Live, Revision), String> {
    let mut live = Live::new();
    let mut revision = Revision::NONE;
    let bucket = reader.bucket(b"key").map_err(|error| error.to_string())?;
    let mut rows = bucket.ok_or("it has no bucket of keys")?;
    while let Some(entry) = rows.next(reader).map_err(|error| error.to_string())? {
        let row = RowKey::parse(entry.key).ok_or("a row has no revision")?;
        let stored = KeyValue::decode(entry.value)
            .map_err(|_| format!("the value of revision {} is damaged", row.revision))?;
        revision = row.revision;
        // etcdutl writes a row without a key when it bumps the revision.
        if row.is_tombstone || stored.key.is_empty() {
            live.remove(&stored.key[..]);
        } else {
            live.insert(stored.key.into(), row);
        }
    }
    Ok((live, revision))
}

fn read_leases(reader: &mut Reader<SnapshotSource>) -> Result<Vec<Lease>, String> {
    let bucket = reader.bucket(b"lease").map_err(|error| error.to_string())?;
    let Some(mut rows) = bucket else {
        return Ok(Vec::new());
    };
    let mut leases = Vec::new();
    while let Some(entry) = rows.next(reader).map_err(|error| error.to_string())? {
        let stored = StoredLease::decode(entry.value).map_err(|_| "a lease is damaged")?;
        let remaining_s = match stored.remaining_ttl_s {
            ..=0 => stored.ttl_s,
            remaining_s => remaining_s.min(stored.ttl_s),
        };
        leases.push(Lease {
            id: stored.id,
            remaining_s: remaining_s.max(1),
        });
    }
    Ok(leases)
}

pub struct FileEntries {
    reader: Reader<SnapshotSource>,
    live: btree_map::IntoIter<Vec<u8>, RowKey>,
}

impl FileEntries {
    fn next(&mut self) -> Result<Option<Entry>, MigrateError> {
        let Some((key, row)) = self.live.next() else {
            return Ok(None);
        };
        let mut name = Vec::new();
        row.append_to(&mut name);
        let content = |reason: String| RestoreError::Content(reason);
        let found = self.reader.find(b"key", &name);
        let found = found.map_err(|error| content(error.to_string()))?;
        let stored = found.and_then(|value| KeyValue::decode(&value[..]).ok());
        let stored = stored.filter(|stored| stored.key[..] == key[..]);
        let stored = stored
            .ok_or_else(|| content(format!("the value of revision {} is lost", row.revision)))?;
        Ok(Some(Entry {
            key: stored.key,
            value: stored.value,
            lease: stored.lease,
        }))
    }
}
