//! Requests of etcd's API: whether they are valid, what a range reads, and what a write changes.

mod entry;
mod error;
pub mod evaluate;
mod limits;
mod range;
mod range_stream;
mod validate;

pub use self::{
    entry::{Sender, entry_bytes, is_read_only},
    error::RequestError,
    limits::{LARGEST_REQUEST_BYTES, Limits},
    range::{has_filters, is_default_order, range, revision_header, select, to_proto},
    range_stream::RangeStream,
    validate::{check_delete_range, check_put, check_range, check_txn},
};
