//! Versions of keys as rows of the change table, on the way from the leader to the others.

use bytes::Bytes;
use etcd_state::{
    mvcc::{Change, ChangeKind, KeyValue, LeaseId, Revision, Versions, VersionsCursor},
    settings::{SettingChange, Settings, Space},
};
use peer_proto as proto;

use crate::store::Row;

/// Keys and values in one message of the transfer of everything, in bytes.
const CHUNK_BYTES: usize = 256 * 1024;

/// The cost of a row beside its key and value, in bytes.
const ROW_BYTES: usize = 64;

pub fn row_of_change(change: &Change) -> proto::Row {
    let prev_revision = change
        .prev
        .as_ref()
        .map_or(Revision::NONE, |prev| prev.mod_revision);
    row(&change.kv, change.kind, prev_revision)
}

fn row(kv: &KeyValue, kind: ChangeKind, prev_revision: Revision) -> proto::Row {
    proto::Row {
        key: kv.key.clone(),
        value: (kind == ChangeKind::Put).then(|| kv.value.clone()),
        create_revision: kv.create_revision.number(),
        mod_revision: kv.mod_revision.number(),
        position: kv.position,
        version: kv.version,
        lease: kv.lease.number(),
        prev_revision: prev_revision.number(),
    }
}

/// Returns a copy of a received row, since a message stays in memory for as long as any key of it.
pub fn received(row: proto::Row) -> Row {
    let (kind, value) = match row.value {
        Some(value) => (ChangeKind::Put, Bytes::copy_from_slice(&value)),
        None => (ChangeKind::Delete, Bytes::new()),
    };
    Row {
        kind,
        kv: KeyValue {
            key: Bytes::copy_from_slice(&row.key),
            value,
            create_revision: Revision::new(row.create_revision),
            mod_revision: Revision::new(row.mod_revision),
            version: row.version,
            lease: LeaseId::new(row.lease),
            position: row.position,
        },
        prev_revision: Revision::new(row.prev_revision),
    }
}

/// Everything that a store keeps, in messages of bounded size.
pub struct Transfer {
    versions: Versions,
    cursor: VersionsCursor,
    /// The newest version of each key so far is found by the receiver; what is missing is only known
    /// by the sender.
    previous: Previous,
}

/// The revision that each version replaced, of those above the compaction revision.
type Previous = std::collections::HashMap<Bytes, Revision>;

impl Transfer {
    pub fn new(versions: Versions) -> Self {
        Self {
            versions,
            cursor: VersionsCursor::default(),
            previous: Previous::new(),
        }
    }

    pub fn revision(&self) -> Revision {
        self.versions.revision
    }

    pub fn compact_revision(&self) -> Revision {
        self.versions.compact_revision
    }

    /// The rows of the next message; none when all are sent.
    pub fn next(&mut self) -> Option<Vec<proto::Row>> {
        let mut rows = Vec::new();
        let mut bytes = 0;
        while bytes < CHUNK_BYTES
            && let Some(kv) = self.versions.next(&mut self.cursor).cloned()
        {
            bytes += kv.key.len() + kv.value.len() + ROW_BYTES;
            let kind = if kv.version == 0 {
                ChangeKind::Delete
            } else {
                ChangeKind::Put
            };
            let prev_revision = self.prev_revision(&kv, kind);
            rows.push(row(&kv, kind, prev_revision));
        }
        (!rows.is_empty()).then_some(rows)
    }

    fn prev_revision(&mut self, kv: &KeyValue, kind: ChangeKind) -> Revision {
        let known = match kind {
            ChangeKind::Put => self.previous.insert(kv.key.clone(), kv.mod_revision),
            ChangeKind::Delete => self.previous.remove(&kv.key),
        };
        match (known, kind) {
            (Some(revision), _) => revision,
            (None, ChangeKind::Put) if kv.version == 1 => Revision::NONE,
            // It is compacted: only that there was one is of importance.
            (None, ChangeKind::Put) => kv.mod_revision.previous(),
            (None, ChangeKind::Delete) => kv.mod_revision.previous(),
        }
    }
}

pub fn settings_to_proto(settings: &Settings) -> proto::Settings {
    let all = Space::ALL.into_iter().flat_map(|space| {
        settings
            .iter(space)
            .map(move |(name, value)| proto::Setting {
                space: space as i64,
                name: name.clone(),
                value: value.clone(),
            })
    });
    proto::Settings {
        settings: all.collect(),
    }
}

/// Settings of a space that a newer version has are left out.
pub fn settings_from_proto(received: proto::Settings) -> Settings {
    let mut settings = Settings::default();
    for proto::Setting { space, name, value } in received.settings {
        if let Some(space) = Space::from_number(space) {
            settings.apply(SettingChange {
                space,
                name: Bytes::copy_from_slice(&name),
                value: Some(Bytes::copy_from_slice(&value)),
            });
        }
    }
    settings
}
