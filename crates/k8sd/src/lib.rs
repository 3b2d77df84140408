//! The cluster manager: the members of the cluster, the trust in them, and the database with both.
//!
//! | Module | Owns |
//! |---|---|
//! | `state` | the state directory: where each file is, its mode, replacing it as a whole |
//! | `certificate` | key pairs, fingerprints |
//! | `trust` | the truststore: the trusted certificates and their files |
//! | `token` | join tokens. Pure |
//! | `plan` | finds what is wrong with a cluster, and decides what may be repaired. Pure |
//! | `schema` | all SQL |
//! | `database` | the leader's database |
//! | `sql` | statements of a user |
//! | `copy` | a directory of dqlite, file by file |
//! | `offline` | the database of a node that does not run, on a copy |
//! | `source` | where answers to SQL come from |
//! | `doctor` | everything that can be checked about a member |
//! | `leave` | a node that goes |
//! | `recover` | from a lost majority back to a cluster |
//! | `datastore` | the datastore that the cluster runs: its pair, its directory, its own dqlite cluster |
//! | `time` | dates of the database and the API. Pure |
//! | `api` | bodies of requests and answers, and their envelope. Pure |
//! | `client` | requests to a daemon, by its socket or over the network |
//! | `peers` | asking the other members |
//! | `reconcile` | rows, dqlite's servers and trust kept in step; removals |
//! | `failpoint` | faults that tests cause; none in a release build |
//! | `server` | listeners and connections |
//! | `cluster` | a node in its cluster: engine, port, membership |
//! | `daemon` | the daemon's phases: waiting, bootstrap, join, reset, stop |
//! | `told` | what the service manager is told |
//! | `rest` | the endpoints, and who may use each |
//! | `run` | a daemon from its start to its end |
//!
//! Imports point up this table: `run` → `rest` → `daemon` → `reconcile` → `peers` → `cluster` → the rest.
#![forbid(unsafe_code)]

pub mod api;
pub mod certificate;
pub mod client;
mod cluster;
mod copy;
mod daemon;
mod database;
pub mod doctor;
mod failpoint;
mod leave;
pub mod offline;
mod peers;
mod plan;
mod reconcile;
pub mod recover;
mod rest;
mod run;
mod schema;
mod server;
pub mod source;
mod sql;
pub mod state;
pub mod time;
pub mod token;
mod told;
mod trust;

mod datastore;
mod error;

pub use datastore::read_pair as read_datastore_pair;
pub use error::Error;
pub use leave::leave;
pub use rest::ENDPOINTS;
pub use run::{DaemonOptions, run};
pub use sql::{USUAL_TIMEOUT as USUAL_SQL_TIMEOUT, set_timeout as set_sql_timeout};
