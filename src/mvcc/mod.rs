//! The in-memory index: every live key, and all versions since the compaction revision.
//!
//! Pure: no I/O, no clock. It is exactly the replay of the change table.

mod key_range;
mod record;

pub use key_range::KeyRange;
pub use record::{Change, ChangeKind, Commit, KeyValue, LeaseId, Revision};
