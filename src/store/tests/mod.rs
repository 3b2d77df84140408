//! The store on the real engine.

mod batches;
mod epochs;
mod faults;
mod harness;
mod lease_records;
mod limits;
mod log_bytes;
mod merge;
mod packing;
mod random_faults;
mod restart;
mod revisions;
mod stop;
mod sweep;
mod view;
