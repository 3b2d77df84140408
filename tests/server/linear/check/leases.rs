//! Leases: none ends before its TTL, none is alive again afterwards.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use etcd_proto::mvccpb::event::EventType;

use super::super::history::{Delivered, History, key_of};
use super::super::violation::{Kind, Violation};

/// The time at which a deletion of each key was first seen.
fn deletions(history: &History) -> HashMap<&Bytes, Duration> {
    let mut first: HashMap<&Bytes, Duration> = HashMap::new();
    for delivered in history.streams.iter().flat_map(|stream| &stream.delivered) {
        let Delivered::Events(at, events) = delivered else {
            continue;
        };
        for event in events.iter().filter(|e| e.r#type() == EventType::Delete) {
            let seen = first.entry(key_of(event)).or_insert(*at);
            *seen = (*seen).min(*at);
        }
    }
    first
}

pub fn check(history: &History, found: &mut Vec<Violation>) {
    let deletions = deletions(history);
    for lease in &history.leases {
        let Some(gone) = deletions.get(&lease.key).copied() else {
            continue;
        };
        let revoked = lease.revoked.is_some_and(|asked| asked <= gone);
        let last = lease.kept.iter().filter(|asked| **asked <= gone).max();
        if let Some(last) = last
            && !revoked
            && gone < *last + lease.ttl
        {
            let text = format!("gone at {gone:?}, kept alive at {last:?}: {lease:?}");
            found.push(Violation::new(Kind::Lease, text));
        }
        if let Some(late) = lease.kept.iter().find(|asked| **asked > gone) {
            let text = format!("gone at {gone:?}, kept alive at {late:?}: {lease:?}");
            found.push(Violation::new(Kind::Lease, text));
        }
    }
}
