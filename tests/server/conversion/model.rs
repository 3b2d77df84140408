//! A model of the rows of a Go k8s-dqlite: every answer, straight from the table.

use std::collections::BTreeMap;

use bytes::Bytes;
use etcd_proto::{
    etcdserverpb::{RangeRequest, WatchCreateRequest},
    mvccpb::{Event, KeyValue, event::EventType},
};

use super::table::{COMPACTION_KEY, GoRow, GoTable};
use crate::harness::*;

pub struct Model<'a> {
    table: &'a GoTable,
    /// The rows of each key, ascending.
    ids: BTreeMap<&'a [u8], Vec<i64>>,
}

impl<'a> Model<'a> {
    pub fn of(table: &'a GoTable) -> Self {
        let mut ids: BTreeMap<&[u8], Vec<i64>> = BTreeMap::new();
        for (id, row) in &table.rows {
            if row.name != COMPACTION_KEY && !row.name.starts_with(b"gap-") {
                ids.entry(&row.name).or_default().push(*id);
            }
        }
        Self { table, ids }
    }

    /// Puts from the creation of a key to this row of it, as far as they are there; one more if the creation is
    /// not.
    fn version(&self, id: i64, row: &GoRow) -> i64 {
        let mut version = 0;
        for earlier in self.ids[&row.name[..]].iter().rev().filter(|at| **at <= id) {
            let earlier = &self.table.rows[earlier];
            if earlier.is_deleted() {
                break;
            }
            version += 1;
            if earlier.created != 0 {
                return version;
            }
        }
        version + 1
    }

    fn key_value(&self, id: i64) -> KeyValue {
        let row = &self.table.rows[&id];
        KeyValue {
            key: Bytes::from(row.name.clone()),
            value: Bytes::from(row.value.clone().unwrap_or_default()),
            create_revision: row.create_revision(id),
            mod_revision: id,
            version: self.version(id, row),
            lease: row.lease,
        }
    }

    /// The version of a key that is the newest up to a revision, unless it is deleted.
    fn living_at(&self, name: &[u8], revision: i64) -> Option<KeyValue> {
        let id = self.ids[name].iter().rev().find(|id| **id <= revision)?;
        (!self.table.rows[id].is_deleted()).then(|| self.key_value(*id))
    }

    /// All keys at a revision.
    pub fn range(&self, revision: i64) -> Vec<KeyValue> {
        let names = self.ids.keys();
        names
            .filter_map(|name| self.living_at(name, revision))
            .collect()
    }

    /// All events from a revision on. What was there before is not known at the compaction revision.
    pub fn events(&self, from: i64) -> Vec<Event> {
        let compacted = self.table.compact_revision();
        let rows = self.table.rows.range(from..);
        let rows = rows.filter(|(_, row)| self.ids.contains_key(&row.name[..]));
        rows.map(|(id, row)| {
            let before = self.living_at(&row.name, id - 1);
            let (kind, kv) = match row.is_deleted() {
                true => {
                    let kv = KeyValue {
                        key: Bytes::from(row.name.clone()),
                        mod_revision: *id,
                        ..Default::default()
                    };
                    (EventType::Delete, kv)
                }
                false => (EventType::Put, self.key_value(*id)),
            };
            Event {
                r#type: kind as i32,
                kv: Some(kv),
                prev_kv: before.filter(|_| *id > compacted),
            }
        })
        .collect()
    }
}

pub fn everything(revision: i64) -> RangeRequest {
    RangeRequest {
        revision,
        ..get_range(vec![0], vec![0])
    }
}

/// All events that a server has from a revision on.
pub async fn watched(api: &Api, from: i64) -> Vec<Event> {
    let create = WatchCreateRequest {
        key: vec![0].into(),
        range_end: vec![0].into(),
        start_revision: from,
        prev_kv: true,
        ..Default::default()
    };
    let (mut watcher, _) = Watcher::open(api, create).await;
    watcher.progress().await.0
}

/// Compares every answer of a server that has taken the table over.
pub async fn compare(api: &Api, table: &GoTable) {
    let model = Model::of(table);
    let revision = table.revision();
    assert_eq!(api.revision().await, revision);
    let compacted = table.compact_revision();
    // Those between two rows read as the lower one.
    let rows = table.rows.keys().copied().filter(|id| *id > compacted);
    let around = rows.flat_map(|id| [id, id + 1]);
    let around = around.chain([compacted.max(1), revision]);
    for revision in around.filter(|at| *at >= 1 && *at <= revision) {
        let found = api.ask(everything(revision)).await;
        assert_eq!(found.kvs, model.range(revision), "at revision {revision}");
        let from = watched(api, revision).await;
        assert_eq!(from, model.events(revision), "from revision {revision}");
    }
    if compacted > 1 {
        let (_, reason) = api.refused(everything(compacted - 1)).await;
        assert!(reason.contains("compacted"), "{reason}");
    }
}
