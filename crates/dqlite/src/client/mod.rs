//! An async client of one dqlite node.
//!
//! Owns a connection and the rule that keeps it in step: requests and replies alternate on it, and a
//! connection on which a reply is still due (a dropped future, a deadline, an unread result) answers
//! every later call with [`Error::Poisoned`]. So a reply can never be taken for that of another
//! request.
//!
//! Everything happens in the caller's task: one write for a request, reads into a buffer that is used
//! again, no task and no channel in between, because a wake-up costs more than a request.
//!
//! | Request | May it be sent again after an error? |
//! |---|---|
//! | open, prepare, leader, cluster, describe, dump, client id | always, on a new connection after [`Error::Disconnected`] |
//! | query of a statement that only reads | always |
//! | weight, finalize, interrupt | always, they set a state |
//! | exec, query of a statement that writes | after [`Error::NotLeader`], [`Error::Unreachable`], [`Error::Busy`]; **not** after [`Error::OutcomeUnknown`] or [`Error::DiskOrEngine`], unless the statement itself makes it harmless, such as an insert with an explicit key |
//! | add, assign, remove, transfer | as exec; read the configuration first |

mod cluster;
mod connection;
mod endpoint;
mod engine_socket;
mod error;
mod exchange;
mod leader;
mod pipeline;
mod upgrade;

pub use cluster::{Leader, MAX_DUMP_BYTES, Metadata};
pub use connection::{Connection, ExecResult, Rows, Statement};
pub(crate) use endpoint::Stream;
pub use endpoint::{ConnectOptions, Endpoint};
pub use error::{Error, Loss};
pub use leader::{LeaderConnector, Resolve};
pub use pipeline::{MAX_PIPELINE_DEPTH, Pipeline};
