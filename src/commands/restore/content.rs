//! The content of the snapshot, turned into the rows of the change table, and checked on the way as
//! a start would.

use std::{path::PathBuf, sync::Arc};

use archive::Route;
use bbolt::{Bucket, Reader};
use bytes::Bytes;
use change_batch::ChangeRef;
use etcd_proto::mvccpb;
use etcd_state::{
    lease::{LeaseCopy, MAX_TTL_S, MIN_TTL_S},
    mvcc::{
        Change, ChangeKind, KeyValue, LeaseId, MAX_POSITION, NEVER_COMPACTED, Replay, Revision,
        RowId,
    },
    settings::SettingChange,
};
use prost::Message;

use super::{RestoreError, Summary, file::SnapshotSource};
use crate::{
    process::progress::Progress,
    store::{
        self,
        snapshot::{MEMBERS, SETTINGS, StoredLease, StoredMember, row::RowKey},
    },
};

const MAX_REVISION: Revision = RowId::MAX.revision();

pub struct Contents {
    reader: Reader<SnapshotSource>,
    path: PathBuf,
    rows: Bucket,
    leases: Vec<LeaseCopy>,
    settings: Vec<SettingChange>,
    compact_revision: Revision,
    /// The revision of the last row.
    last_revision: Revision,
    /// The revision of the store that was saved.
    snapshot_revision: Revision,
    total: u64,
    progress: Progress,
    replay: Replay,
    /// The revision of an archive that is restored, which deltas lead to.
    up_to: Option<Revision>,
}

impl Contents {
    /// Reads the base of an archive as [`Self::read`] does a snapshot, for deltas to follow.
    pub fn read_archived(
        source: SnapshotSource,
        bump: u64,
        route: &Route,
    ) -> Result<Self, RestoreError> {
        let mut contents = Self::read(source, 0)?;
        contents.up_to = Some(route.revision);
        contents.last_revision = contents.last_revision.max(route.revision);
        contents.snapshot_revision = route.revision;
        contents.compact_revision = contents.compact_revision.max(route.compact_revision);
        contents.bump(bump)?;
        contents.begin_replay();
        Ok(contents)
    }

    /// Reads everything but the rows, and counts those.
    pub fn read(source: SnapshotSource, bump: u64) -> Result<Self, RestoreError> {
        let path = source.path().to_owned();
        let no_snapshot = |reason: String| RestoreError::NoSnapshot {
            path: path.clone(),
            reason,
        };
        let mut reader = Reader::open(source).map_err(|error| no_snapshot(error.to_string()))?;
        let bucket = reader.bucket(b"key");
        let bucket = bucket.map_err(|error| no_snapshot(error.to_string()))?;
        let rows = bucket.ok_or_else(|| no_snapshot("it has no bucket of keys".to_owned()))?;
        let mut contents = Self {
            reader,
            path,
            rows,
            leases: Vec::new(),
            settings: Vec::new(),
            compact_revision: NEVER_COMPACTED,
            last_revision: Revision::NONE,
            snapshot_revision: Revision::NONE,
            total: 0,
            progress: Progress::rows("reading the snapshot", None),
            replay: Replay::new(NEVER_COMPACTED),
            up_to: None,
        };
        contents.survey()?;
        contents.read_meta()?;
        contents.snapshot_revision = contents.revision();
        contents.bump(bump)?;
        contents.begin_replay();
        contents.read_leases()?;
        contents.read_settings()?;
        contents.progress = Progress::rows("reading the snapshot", Some(contents.total));
        Ok(contents)
    }

    fn bump(&mut self, bump: u64) -> Result<(), RestoreError> {
        if bump > 0 {
            self.compact_revision = self
                .revision()
                .number()
                .checked_add_unsigned(bump)
                .map(Revision::new)
                .filter(|revision| *revision <= MAX_REVISION)
                .ok_or_else(|| {
                    RestoreError::Content("--bump-revision makes the revision too large".to_owned())
                })?;
        }
        Ok(())
    }

    fn begin_replay(&mut self) {
        self.replay =
            Replay::new(self.compact_revision).at_least(self.up_to.unwrap_or(Revision::FIRST));
    }

    /// Takes a change of a delta, which continues what was read so far.
    pub fn archived_change(&mut self, change: ChangeRef<'_>) -> Result<Change, RestoreError> {
        let (kind, kv, prev_revision) = (change.kind, change.to_key_value(), change.prev_revision);
        self.progress.advance(1);
        self.replayed(kind, kv, prev_revision)
    }

    /// Takes leases and settings as they are at the moment that is restored.
    pub fn set_records(&mut self, leases: Vec<LeaseCopy>, settings: Vec<SettingChange>) {
        (self.leases, self.settings) = (leases, settings);
    }

    pub fn settings(&self) -> &[SettingChange] {
        &self.settings
    }

    pub fn rows(&self) -> u64 {
        self.total
    }

    /// The revision that the store will be at.
    pub fn revision(&self) -> Revision {
        self.last_revision
            .max(self.compact_revision)
            .max(Revision::FIRST)
    }

    pub fn compact_revision(&self) -> Revision {
        self.compact_revision
    }

    pub fn leases(&self) -> &[LeaseCopy] {
        &self.leases
    }

    pub fn take_settings(&mut self) -> Vec<SettingChange> {
        std::mem::take(&mut self.settings)
    }

    /// Returns the addresses of the nodes of the cluster that was saved; none for an etcd, or where an older
    /// version saved it.
    pub fn node_addresses(&mut self) -> Result<Vec<String>, RestoreError> {
        let members = self.entries(MEMBERS)?.into_iter();
        let addresses = members.filter_map(|(_, value)| {
            let member = StoredMember::from_json(&value)?;
            member.node_address().map(ToOwned::to_owned)
        });
        Ok(addresses.collect())
    }

    /// The next row.
    pub fn next(&mut self) -> Result<Option<Change>, RestoreError> {
        loop {
            let Some((key, value)) = self.next_row()? else {
                return Ok(None);
            };
            self.progress.advance(1);
            let stored = mvccpb::KeyValue::decode(&value[..]).map_err(|_| {
                self.content(format!("the value of revision {} is damaged", key.revision))
            })?;
            if stored.key.is_empty() {
                // etcdutl writes such a row when it bumps the revision; it stands for no key.
                continue;
            }
            return self.change(key, stored).map(Some);
        }
    }

    /// Checks that the rows make a store.
    pub fn finish(self) -> Result<Summary, RestoreError> {
        let (history, _) = self.replay.finish();
        let head = history.head();
        let hash = store::hash(&history, Revision::NONE)
            .map_err(|error| RestoreError::Content(error.to_string()));
        Ok(Summary {
            revision: head.revision,
            snapshot_revision: self.snapshot_revision,
            compact_revision: history.compact_revision(),
            rows: self.progress.done(),
            keys: head.tree.len(),
            leases: self.leases.len(),
            hash: hash?.hash,
        })
    }

    fn change(&mut self, key: RowKey, stored: mvccpb::KeyValue) -> Result<Change, RestoreError> {
        let revision = key.revision;
        let position = u32::try_from(key.position)
            .ok()
            .filter(|position| *position <= MAX_POSITION);
        let position = position.ok_or_else(|| {
            self.content(format!(
                "revision {revision} has more changes than can be stored"
            ))
        })?;
        let (kind, kv) = if key.is_tombstone {
            let kv = KeyValue::tombstone(stored.key, revision, position);
            (ChangeKind::Delete, kv)
        } else {
            if stored.mod_revision != revision.number() {
                return Err(self.content(format!(
                    "the value of revision {revision} belongs to another revision"
                )));
            }
            let kv = KeyValue {
                key: stored.key,
                value: stored.value,
                create_revision: Revision::new(stored.create_revision),
                mod_revision: revision,
                version: stored.version,
                lease: LeaseId::new(stored.lease),
                position,
            };
            (ChangeKind::Put, kv)
        };
        let prev_revision = self.prev_revision(kind, &kv);
        self.replayed(kind, kv, prev_revision)
    }

    fn replayed(
        &mut self,
        kind: ChangeKind,
        kv: KeyValue,
        prev_revision: Revision,
    ) -> Result<Change, RestoreError> {
        // The rows go to the database beside it.
        self.replay
            .row(kind, kv.clone(), prev_revision)
            .map_err(|error| RestoreError::Content(error.to_string()))?;
        let prev = (!prev_revision.is_none())
            .then(|| Arc::new(KeyValue::tombstone(kv.key.clone(), prev_revision, 0)));
        Ok(Change {
            kind,
            kv: Arc::new(kv),
            prev,
        })
    }

    /// The revision of the version that this one replaced. Where that was compacted, etcd does not
    /// know it any more: then it is one that it may have been.
    fn prev_revision(&self, kind: ChangeKind, kv: &KeyValue) -> Revision {
        match (kind, self.replay.current(&kv.key)) {
            (ChangeKind::Put, _) if kv.version == 1 => Revision::NONE,
            (_, Some(prev)) => prev.mod_revision,
            (ChangeKind::Put, None) => kv.create_revision,
            (ChangeKind::Delete, None) => kv.mod_revision.previous(),
        }
    }

    fn next_row(&mut self) -> Result<Option<(RowKey, Vec<u8>)>, RestoreError> {
        let entry = match self.rows.next(&mut self.reader) {
            Ok(None) => return Ok(None),
            Ok(Some(entry)) => entry,
            Err(error) => return Err(damaged(&self.path, error.to_string())),
        };
        let key = RowKey::parse(entry.key)
            .filter(|key| {
                (Revision::FIRST..=MAX_REVISION).contains(&key.revision) && key.position >= 0
            })
            .ok_or_else(|| damaged(&self.path, "a row has no revision".to_owned()))?;
        Ok(Some((key, entry.value.to_vec())))
    }

    fn survey(&mut self) -> Result<(), RestoreError> {
        while let Some((key, _)) = self.next_row()? {
            self.total += 1;
            self.last_revision = key.revision;
        }
        let again = self.reader.bucket(b"key");
        let again = again.map_err(|error| damaged(&self.path, error.to_string()))?;
        self.rows = again.expect("it was there");
        Ok(())
    }

    /// A compaction that etcd had not finished goes on when it starts, so it counts.
    fn read_meta(&mut self) -> Result<(), RestoreError> {
        for (key, value) in self.entries("meta")? {
            if matches!(&key[..], b"scheduledCompactRev" | b"finishedCompactRev") {
                let found = RowKey::parse(&value).map(|key| key.revision);
                let found =
                    found.filter(|revision| (Revision::NONE..=MAX_REVISION).contains(revision));
                let found = found.ok_or_else(|| {
                    damaged(&self.path, "it has no compaction revision".to_owned())
                })?;
                self.compact_revision = self.compact_revision.max(found);
            }
        }
        Ok(())
    }

    fn read_leases(&mut self) -> Result<(), RestoreError> {
        for (_, value) in self.entries("lease")? {
            let lease = StoredLease::decode(&value[..])
                .ok()
                .filter(|lease| lease.id != 0)
                .ok_or_else(|| damaged(&self.path, "a lease is damaged".to_owned()))?;
            let granted_ttl_s = lease.ttl_s.clamp(MIN_TTL_S, MAX_TTL_S);
            let remaining_s = match lease.remaining_ttl_s {
                ..=0 => granted_ttl_s,
                remaining_s => remaining_s.min(granted_ttl_s),
            };
            self.leases.push(LeaseCopy {
                id: LeaseId::new(lease.id),
                granted_ttl_s,
                remaining_s,
            });
        }
        Ok(())
    }

    fn read_settings(&mut self) -> Result<(), RestoreError> {
        for (bucket, space) in SETTINGS {
            for (name, value) in self.entries(bucket)? {
                self.settings.push(SettingChange {
                    space,
                    name: name.into(),
                    value: Some(value),
                });
            }
        }
        Ok(())
    }

    /// Returns all entries of a small bucket; none if it is not there.
    fn entries(&mut self, bucket: &str) -> Result<Vec<(Vec<u8>, Bytes)>, RestoreError> {
        let path = &self.path;
        let failed = |error: bbolt::ReadError<_>| damaged(path, error.to_string());
        let found = self.reader.bucket(bucket.as_bytes()).map_err(failed)?;
        let Some(mut found) = found else {
            return Ok(Vec::new());
        };
        let mut entries = Vec::new();
        while let Some(entry) = found.next(&mut self.reader).map_err(failed)? {
            let value = Bytes::copy_from_slice(entry.value);
            entries.push((entry.key.to_vec(), value));
        }
        Ok(entries)
    }

    fn content(&self, reason: String) -> RestoreError {
        RestoreError::Content(reason)
    }
}

fn damaged(path: &std::path::Path, reason: String) -> RestoreError {
    RestoreError::NoSnapshot {
        path: path.to_owned(),
        reason,
    }
}
