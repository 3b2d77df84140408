//! Database files of bbolt (<https://github.com/etcd-io/bbolt>), the store inside etcd: a writer that
//! lays out a new file from sorted entries, and a reader of any file.
//!
//! Only what etcd uses: buckets of keys and values, one level of them. No I/O: the writer's pages go
//! where its caller puts them, the reader asks its [`Source`] for bytes.

#![forbid(unsafe_code)]

mod meta;
mod page;
mod reader;
mod writer;

pub use meta::MetaError;
pub use reader::{Bucket, Entry, ReadError, Reader, Source};
pub use writer::{MAX_KEY_BYTES, Measure, PAGE_BYTES, Plan, Writer};
