//! Leases: which exist, until when, and the keys attached to them.

mod table;

pub use table::{Lease, LeaseCopy, LeaseTable, LeaseView, MAX_TTL_S, MIN_TTL_S, NowMs, Renewal};
