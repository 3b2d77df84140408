//! The in-memory index: every live key, and all versions since the compaction revision.
//!
//! Pure: no I/O, no clock. It is exactly the replay of the change table.

mod history;
mod ids;
mod key_range;
mod record;
mod replay;
mod tree;

pub use history::{
    History, HistoryError, HistorySize, NEVER_COMPACTED, Snapshot, Versions, VersionsCursor,
};
pub use ids::{LeaseId, MAX_POSITION, Revision, RowId};
pub use key_range::KeyRange;
pub use record::{Change, ChangeKind, Commit, KeyValue};
pub use replay::{Replay, ReplayError};
pub use tree::{Range, Tree};
