//! The requests, their answers, and the events of watchers: all that the checker knows.

use std::time::Duration;

use bytes::Bytes;
use etcd_proto::mvccpb::{Event, KeyValue};

/// Everything that a run has recorded. Times count from its beginning.
#[derive(Debug, Default)]
pub struct History {
    pub operations: Vec<Operation>,
    pub streams: Vec<Stream>,
    pub leases: Vec<Lease>,
}

#[derive(Debug, Clone)]
pub struct Operation {
    pub node: usize,
    pub call: Call,
    pub invoked: Duration,
    /// None when nobody knows whether it was done.
    pub answer: Option<Answer>,
}

/// Each value is written by one call only, so a value names the call.
#[derive(Debug, Clone)]
pub enum Call {
    Put {
        key: Bytes,
        value: Bytes,
        lease: i64,
    },
    /// Puts the value if the comparison holds; else reads the key.
    Swap {
        key: Bytes,
        expected: Expected,
        value: Bytes,
    },
    /// Operations in one transaction.
    Several {
        written: [Bytes; 2],
        deleted: Bytes,
        value: Bytes,
    },
    Delete {
        key: Bytes,
        range_end: Bytes,
    },
    Read(Read),
    Compact(i64),
}

#[derive(Debug, Clone)]
pub enum Expected {
    ModRevision(i64),
    Value(Bytes),
}

#[derive(Debug, Clone, Default)]
pub struct Read {
    pub key: Bytes,
    pub range_end: Bytes,
    /// 0 is the present.
    pub revision: i64,
    pub limit: i64,
    pub serializable: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub returned: Duration,
    pub revision: i64,
    /// True if the comparison of a swap held.
    pub succeeded: bool,
    /// The value that was read, or that a put or delete replaced.
    pub kvs: Vec<KeyValue>,
    pub count: i64,
}

/// A watch from its creation to the end of its stream.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    pub node: usize,
    pub key: Bytes,
    pub range_end: Bytes,
    /// The first revision that it was to show.
    pub start: i64,
    pub delivered: Vec<Delivered>,
}

#[derive(Debug, Clone)]
pub enum Delivered {
    Events(Duration, Vec<Event>),
    Progress(i64),
}

#[derive(Debug, Clone)]
pub struct Lease {
    /// The one key that is attached.
    pub key: Bytes,
    pub ttl: Duration,
    /// The times at which acknowledged grants and keep-alives were asked for.
    pub kept: Vec<Duration>,
    pub revoked: Option<Duration>,
}

impl Call {
    /// The value that only this call writes.
    pub fn value(&self) -> Option<&Bytes> {
        match self {
            Self::Put { value, .. } | Self::Swap { value, .. } | Self::Several { value, .. } => {
                Some(value)
            }
            _ => None,
        }
    }

    /// Returns whether its answer must be from after it was asked.
    pub fn is_linearizable(&self) -> bool {
        !matches!(
            self,
            Self::Read(Read {
                serializable: true,
                ..
            })
        )
    }
}

impl Stream {
    /// Returns whether it shows every key.
    pub fn is_whole(&self) -> bool {
        self.key == "\0" && self.range_end == "\0"
    }
}

/// Returns whether a key is in a range, as etcd writes ranges.
pub fn contains(key: &[u8], range_end: &[u8], asked: &[u8]) -> bool {
    match range_end {
        b"" => asked == key,
        b"\0" => asked >= key,
        _ => asked >= key && asked < range_end,
    }
}

pub fn key_of(event: &Event) -> &Bytes {
    &event.kv.as_ref().expect("an event has a key").key
}

pub fn revision_of(event: &Event) -> i64 {
    event.kv.as_ref().expect("an event has a key").mod_revision
}
