//! The operation and the keys of a request, without its values.

use std::fmt;

use bytes::Bytes;
use etcd_proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, request_op::Request,
};
use opentelemetry::KeyValue;

/// Keys are shared with the request, so that it costs next to nothing to keep one.
#[derive(Debug, Clone)]
pub enum Subject {
    Range {
        key: Bytes,
        range_end: Bytes,
        revision: i64,
        limit: i64,
        is_count_only: bool,
        is_keys_only: bool,
    },
    Put {
        key: Bytes,
        value_bytes: usize,
        lease: i64,
    },
    DeleteRange {
        key: Bytes,
        range_end: Bytes,
    },
    Txn {
        /// The first that it names.
        key: Bytes,
        compares: usize,
        success: usize,
        failure: usize,
        value_bytes: usize,
    },
}

impl From<&RangeRequest> for Subject {
    fn from(request: &RangeRequest) -> Self {
        Self::Range {
            key: request.key.clone(),
            range_end: request.range_end.clone(),
            revision: request.revision,
            limit: request.limit,
            is_count_only: request.count_only,
            is_keys_only: request.keys_only,
        }
    }
}

impl From<&PutRequest> for Subject {
    fn from(request: &PutRequest) -> Self {
        Self::Put {
            key: request.key.clone(),
            value_bytes: request.value.len(),
            lease: request.lease,
        }
    }
}

impl From<&DeleteRangeRequest> for Subject {
    fn from(request: &DeleteRangeRequest) -> Self {
        Self::DeleteRange {
            key: request.key.clone(),
            range_end: request.range_end.clone(),
        }
    }
}

impl From<&TxnRequest> for Subject {
    fn from(request: &TxnRequest) -> Self {
        let operations = || request.success.iter().chain(&request.failure);
        let compared = request.compare.first().map(|compare| &compare.key);
        let key = compared.or_else(|| operations().find_map(key_of));
        Self::Txn {
            key: key.cloned().unwrap_or_default(),
            compares: request.compare.len(),
            success: request.success.len(),
            failure: request.failure.len(),
            value_bytes: operations().map(value_bytes_of).sum(),
        }
    }
}

fn key_of(operation: &RequestOp) -> Option<&Bytes> {
    match operation.request.as_ref()? {
        Request::RequestRange(range) => Some(&range.key),
        Request::RequestPut(put) => Some(&put.key),
        Request::RequestDeleteRange(delete) => Some(&delete.key),
        Request::RequestTxn(_) => None,
    }
}

fn value_bytes_of(operation: &RequestOp) -> usize {
    match &operation.request {
        Some(Request::RequestPut(put)) => put.value.len(),
        _ => 0,
    }
}

impl Subject {
    /// Returns the name that etcd gives to the span.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Range { .. } => "range",
            Self::Put { .. } => "put",
            Self::DeleteRange { .. } => "delete_range",
            Self::Txn { .. } => "txn",
        }
    }

    /// Those of a range have etcd's names (server/etcdserver/v3_server.go).
    pub fn attributes(&self) -> Vec<KeyValue> {
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let count = |count: usize| count as i64;
        match self {
            Self::Range {
                key,
                range_end,
                revision,
                limit,
                is_count_only,
                is_keys_only,
            } => vec![
                KeyValue::new("range_begin", text(key)),
                KeyValue::new("range_end", text(range_end)),
                KeyValue::new("rev", *revision),
                KeyValue::new("limit", *limit),
                KeyValue::new("count_only", *is_count_only),
                KeyValue::new("keys_only", *is_keys_only),
            ],
            Self::Put {
                key,
                value_bytes,
                lease,
            } => vec![
                KeyValue::new("key", text(key)),
                KeyValue::new("value_size", count(*value_bytes)),
                KeyValue::new("lease", *lease),
            ],
            Self::DeleteRange { key, range_end } => vec![
                KeyValue::new("key", text(key)),
                KeyValue::new("range_end", text(range_end)),
            ],
            Self::Txn {
                key,
                compares,
                success,
                failure,
                value_bytes,
            } => vec![
                KeyValue::new("key", text(key)),
                KeyValue::new("compares", count(*compares)),
                KeyValue::new("success", count(*success)),
                KeyValue::new("failure", count(*failure)),
                KeyValue::new("value_size", count(*value_bytes)),
            ],
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut part = |name: &str, bytes: &Bytes| match bytes.is_empty() {
            true => Ok(()),
            false => write!(formatter, "{name}:\"{}\" ", bytes.escape_ascii()),
        };
        match self {
            Self::Range {
                key,
                range_end,
                revision,
                limit,
                ..
            } => {
                part("key", key)?;
                part("range_end", range_end)?;
                write!(formatter, "revision:{revision} limit:{limit}")
            }
            Self::Put {
                key, value_bytes, ..
            } => {
                part("key", key)?;
                write!(formatter, "value_size:{value_bytes}")
            }
            Self::DeleteRange { key, range_end } => {
                part("key", key)?;
                part("range_end", range_end)
            }
            Self::Txn {
                key,
                compares,
                success,
                failure,
                value_bytes,
            } => {
                part("key", key)?;
                write!(
                    formatter,
                    "compare:{compares} success:{success} failure:{failure} value_size:{value_bytes}"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_by_their_size_only() {
        let put = PutRequest {
            key: Bytes::from_static(b"/registry/secrets/\xff"),
            value: Bytes::from_static(b"hunter2"),
            ..Default::default()
        };
        let operation = RequestOp {
            request: Some(Request::RequestPut(put.clone())),
        };
        let txn = TxnRequest {
            success: vec![operation],
            ..Default::default()
        };
        for (subject, expected) in [
            (
                Subject::from(&put),
                r#"key:"/registry/secrets/\xff" value_size:7"#,
            ),
            (
                Subject::from(&txn),
                r#"key:"/registry/secrets/\xff" compare:0 success:1 failure:0 value_size:7"#,
            ),
        ] {
            assert_eq!(subject.to_string(), expected);
            assert!(!format!("{subject:?}{:?}", subject.attributes()).contains("hunter2"));
        }
    }
}
