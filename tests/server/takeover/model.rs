//! What the rows of a Go k8s-dqlite say: every answer, straight from the table.

use bytes::Bytes;
use etcd_proto::{
    etcdserverpb::{RangeRequest, WatchCreateRequest},
    mvccpb::{Event, KeyValue, event::EventType},
};

use super::table::{COMPACTION_KEY, GoRow, GoTable};
use crate::harness::*;

fn is_key(name: &[u8]) -> bool {
    name != COMPACTION_KEY && !name.starts_with(b"gap-")
}

/// Puts from the creation of a key to this row of it, as far as they are there; one more if the creation is not.
fn version(table: &GoTable, id: i64, row: &GoRow) -> i64 {
    let mut version = 0;
    for (_, earlier) in table.rows.range(..=id).rev() {
        if earlier.name != row.name {
            continue;
        }
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

fn key_value(table: &GoTable, id: i64, row: &GoRow) -> KeyValue {
    KeyValue {
        key: Bytes::from(row.name.clone()),
        value: Bytes::from(row.value.clone().unwrap_or_default()),
        create_revision: row.create_revision(id),
        mod_revision: id,
        version: version(table, id, row),
        lease: row.lease,
    }
}

/// The version of a key that is the newest up to a revision, unless it is deleted.
fn living_at(table: &GoTable, name: &[u8], revision: i64) -> Option<KeyValue> {
    let mut rows = table.rows.range(..=revision).rev();
    let (id, row) = rows.find(|(_, row)| row.name == name)?;
    (!row.is_deleted()).then(|| key_value(table, *id, row))
}

/// All keys at a revision.
pub fn range(table: &GoTable, revision: i64) -> Vec<KeyValue> {
    let mut names: Vec<_> = table.rows.values().map(|row| &row.name[..]).collect();
    names.sort_unstable();
    names.dedup();
    let keys = names.into_iter().filter(|name| is_key(name));
    keys.filter_map(|name| living_at(table, name, revision))
        .collect()
}

/// All events from a revision on. What was there before is not known at the compaction revision.
pub fn events(table: &GoTable, from: i64) -> Vec<Event> {
    let compacted = table.compact_revision();
    let rows = table
        .rows
        .range(from..)
        .filter(|(_, row)| is_key(&row.name));
    rows.map(|(id, row)| {
        let before = living_at(table, &row.name, id - 1);
        let (kind, kv) = match row.is_deleted() {
            true => {
                let kv = KeyValue {
                    key: Bytes::from(row.name.clone()),
                    mod_revision: *id,
                    ..Default::default()
                };
                (EventType::Delete, kv)
            }
            false => (EventType::Put, key_value(table, *id, row)),
        };
        Event {
            r#type: kind as i32,
            kv: Some(kv),
            prev_kv: before.filter(|_| *id > compacted),
        }
    })
    .collect()
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
    let revision = table.revision();
    assert_eq!(api.revision().await, revision);
    let compacted = table.compact_revision();
    // Those between two rows read as the lower one.
    let rows = table.rows.keys().copied().filter(|id| *id > compacted);
    let around = rows
        .flat_map(|id| [id, id + 1])
        .chain([compacted.max(1), revision]);
    for revision in around.filter(|at| *at >= 1 && *at <= revision) {
        let found = api.ask(everything(revision)).await;
        assert_eq!(found.kvs, range(table, revision), "at revision {revision}");
        let from = watched(api, revision).await;
        assert_eq!(from, events(table, revision), "from revision {revision}");
    }
    if compacted > 1 {
        let (_, reason) = api.refused(everything(compacted - 1)).await;
        assert!(reason.contains("compacted"), "{reason}");
    }
}
