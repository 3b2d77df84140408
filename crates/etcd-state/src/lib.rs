//! The state of an etcd, and the effect of requests on it. Pure: no I/O, no clock, no task; time and randomness are
//! arguments.
//!
//! Every node computes the same state from the same changes, so everything here is deterministic.
#![forbid(unsafe_code)]

pub mod auth;
pub mod lease;
pub mod mvcc;
pub mod requests;
pub mod settings;
