//! The KV service.

mod delete_range;
mod limits;
mod paging;
mod put;
mod range;
mod range_stream;
mod sort;
