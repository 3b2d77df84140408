//! The dqlite engine of this process: one C node, from its directory to its shutdown.
//!
//! Owns every call into libdqlite. A [`Node`] is created on a directory that nobody else holds,
//! started, and stopped; everything else (membership, roles, TLS, SQL) talks to it through its
//! socket.
//!
//! Invariants: the directory is locked before libdqlite touches a file of it and until the engine
//! is gone; the first of its calls on files that fails ends the process; the engine listens only on an abstract unix socket, which accepts this process alone;
//! nothing in it is repaired by throwing away data; an empty directory becomes a new cluster only
//! when that was asked for.
//!
//! All calls block, `start` for as long as it takes to load the database: use a blocking thread.

pub mod aio;
mod bootstrap;
mod check;
mod closing;
mod connect;
mod cut;
mod engine;
mod error;
mod file_calls;
mod handle;
pub mod in_place;
mod last_entry;
mod library;
mod lock;
mod log_block;
pub mod log_writes;
pub mod mark;
mod options;
pub mod packed_table;
mod poison;
mod priority;
mod process;
mod progress;
mod readdress;
mod recover;
pub mod reuse;
mod snapshot_pace;
mod snapshot_room;
mod state;
mod statements;
pub mod survey;
mod term;
mod turns;
mod value_limit;
mod wide_results;
mod zeros_ahead;

pub use check::{check_start, engine_bytes, find_damage};
pub use connect::{DIAL_TIMEOUT, Dial};
pub use cut::{PlannedCut, plan_cut};
pub use error::NodeError;
pub use handle::{Node, STOP_TIMEOUT};
pub use last_entry::{LastEntry, describe_last_entry, last_entry};
pub use lock::DirLock;
pub use log_block::sector_bytes;
pub use mark::LogEnd;
pub use options::{
    BOOTSTRAP_ID, DEFAULT_BUSY_TIMEOUT, NodeOptions, SnapshotOptions, Trailing,
    default_bind_address, generate_node_id,
};
pub use poison::{FailureHandler, FileFailure, on_file_failure};
pub use priority::raise_priority;
pub use process::{POOL_THREADS, Versions, prepare_process, trim_memory, versions};
pub use progress::limit_statements;
pub use readdress::{change_addresses, read_log};
pub use recover::recover;
pub use state::{EngineState, engine_state, stored_term};
pub use term::StoredTerm;
pub use value_limit::limit_values;
