//! The cluster manager: which nodes there are, who of them is trusted, and the database that says so.
//!
//! | Module | Owns |
//! |---|---|
//! | `state` | the state directory: where each file is, its mode, replacing it as a whole |
//! | `certificate` | key pairs, fingerprints |
//! | `trust` | who is trusted: the truststore and its files |
//! | `token` | join tokens. Pure |
//! | `schema` | all SQL |
//! | `database` | the leader's database |
//! | `sql` | statements of a user |
//! | `datastore` | the datastore that the cluster runs: its pair, its directory, its own dqlite cluster |
//! | `time` | dates of the database and the API. Pure |
//! | `api` | bodies of requests and answers, and their envelope. Pure |
//! | `client` | requests to a daemon, by its socket or over the network |
//! | `rest` | the endpoints, and who may use which |
//! | `server` | listeners and connections |
//! | `cluster` | a node in its cluster: engine, port, membership |
//! | `daemon` | a daemon's life: waiting, bootstrap, join, reset, stop |
//!
//! Imports point down this table's other way: `daemon` → `rest` → `cluster` → the rest.

pub mod api;
pub mod certificate;
pub mod client;
mod cluster;
pub mod daemon;
mod database;
mod rest;
mod schema;
mod server;
mod sql;
pub mod state;
pub mod time;
pub mod token;
mod trust;

mod datastore;
mod error;

pub use error::Error;
