//! The content of the file, bucket by bucket: etcd's schema of version 3.6
//! (`server/storage/schema`).

use std::collections::BTreeMap;

use bbolt::{Measure, Writer};
use etcd_state::{
    auth::TOKEN_SECRET,
    lease::LeaseCopy,
    mvcc::{Revision, Versions},
    settings::{Settings, Space},
};
use prost::Message;

use super::{MEMBERS, StoredMember, row};

/// The schema, and the cluster version that goes with it.
pub const STORAGE_VERSION: &str = "3.6.0";

/// The buckets of settings: their names and values are etcd's.
pub const SETTINGS: [(&str, Space); 4] = [
    ("alarm", Space::Alarm),
    ("auth", Space::Auth),
    ("authRoles", Space::Role),
    ("authUsers", Space::User),
];

/// The member that takes the snapshot, and the members of its cluster. etcd's restore replaces both.
#[derive(Debug, Clone)]
pub struct Origin {
    pub member_id: u64,
    pub raft_term: u64,
    /// As far as this node knows them.
    pub members: Vec<StoredMember>,
}

pub struct Content {
    pub versions: Versions,
    pub leases: Vec<LeaseCopy>,
    pub settings: Settings,
    pub origin: Origin,
}

/// A lease as etcd stores it (`lease/leasepb/lease.proto`).
#[derive(Clone, PartialEq, Message)]
pub struct StoredLease {
    #[prost(int64, tag = "1")]
    pub id: i64,
    #[prost(int64, tag = "2")]
    pub ttl_s: i64,
    /// The rest of the TTL; 0 is all of it.
    #[prost(int64, tag = "3")]
    pub remaining_ttl_s: i64,
}

/// One of the two passes over the content.
pub trait Pass {
    fn bucket(&mut self, name: &str);
    fn entry(&mut self, key: &[u8], value: &[u8]);
}

impl Pass for Measure {
    fn bucket(&mut self, name: &str) {
        self.bucket(name.as_bytes());
    }

    fn entry(&mut self, key: &[u8], value: &[u8]) {
        self.entry(key, value.len());
    }
}

impl Pass for Writer {
    fn bucket(&mut self, name: &str) {
        self.bucket(name.as_bytes());
    }

    fn entry(&mut self, key: &[u8], value: &[u8]) {
        self.entry(key, value);
    }
}

impl Content {
    pub fn measure(&self) -> bbolt::Plan {
        let mut measure = Measure::new();
        self.begin(&mut measure);
        let mut key = Vec::new();
        for kv in self.versions.iter() {
            key.clear();
            row::RowKey::of(kv).append_to(&mut key);
            measure.entry(&key, row::value_bytes(kv));
        }
        self.end(&mut measure);
        measure.finish()
    }

    /// The buckets before the rows, and the beginning of theirs. Buckets come in the order of names.
    pub fn begin(&self, pass: &mut impl Pass) {
        for (name, space) in SETTINGS {
            pass.bucket(name);
            let is_secret = |key: &[u8]| space == Space::Auth && key == TOKEN_SECRET;
            let settings = self.settings.iter(space);
            for (key, value) in settings.filter(|(key, _)| !is_secret(key)) {
                pass.entry(key, value);
            }
        }
        pass.bucket("cluster");
        pass.entry(b"clusterVersion", STORAGE_VERSION.as_bytes());
        pass.bucket("key");
    }

    /// The buckets after the rows.
    pub fn end(&self, pass: &mut impl Pass) {
        pass.bucket("lease");
        // In the order of bytes, negative ids come last.
        let negative = self.leases.partition_point(|lease| lease.id.number() < 0);
        let (negative, positive) = self.leases.split_at(negative);
        for lease in positive.iter().chain(negative) {
            let is_full = lease.remaining_s >= lease.granted_ttl_s;
            let stored = StoredLease {
                id: lease.id.number(),
                ttl_s: lease.granted_ttl_s,
                remaining_ttl_s: if is_full { 0 } else { lease.remaining_s },
            };
            pass.entry(&lease.id.number().to_be_bytes(), &stored.encode_to_vec());
        }
        self.members(pass);
        pass.bucket("members_removed");
        self.end_meta(pass);
    }

    fn members(&self, pass: &mut impl Pass) {
        let members = self.origin.members.iter();
        let entries: BTreeMap<_, _> = members.map(|m| (m.key(), m.to_json())).collect();
        pass.bucket(MEMBERS);
        for (key, value) in entries {
            pass.entry(key.as_bytes(), &value);
        }
    }

    fn end_meta(&self, pass: &mut impl Pass) {
        let Origin {
            member_id,
            raft_term,
            members: _,
        } = self.origin;
        let revision = self.versions.revision;
        let voters = format!("{{\"voters\":[{member_id}],\"auto_leave\":false}}");
        pass.bucket("meta");
        pass.entry(b"confState", voters.as_bytes());
        pass.entry(b"consistent_index", &revision.number().to_be_bytes());
        let compacted = self.versions.compact_revision;
        if compacted >= Revision::NONE {
            pass.entry(b"finishedCompactRev", &revision_value(compacted));
            pass.entry(b"scheduledCompactRev", &revision_value(compacted));
        }
        pass.entry(b"storageVersion", STORAGE_VERSION.as_bytes());
        pass.entry(b"term", &raft_term.to_be_bytes());
    }
}

/// A revision is stored like the key of its first change.
fn revision_value(revision: Revision) -> Vec<u8> {
    let mut value = Vec::with_capacity(row::KEY_BYTES);
    let key = row::RowKey {
        revision,
        position: 0,
        is_tombstone: false,
    };
    key.append_to(&mut value);
    value
}
