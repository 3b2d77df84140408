//! The dqlite shell: SQL and cluster commands for a dqlite cluster.
//!
//! | Module | Owns |
//! |---|---|
//! | `args` | the command line |
//! | `servers` | whom to ask, and how to reach them |
//! | `session` | the connection to the leader, and what runs on it |
//! | `guard` | what must not be sent, because it would harm a server |
//! | `command` | what begins with a full stop |
//! | `render` | rows as text |
//! | `output` | where text goes: a stream, a file, a pager |
//! | `shell` | one session of a user: settings, statements and commands in their order |
//! | `script` | a command line's text, and standard input |
//! | `interactive` | the prompt |
//! | `error` | errors and exit codes |
#![forbid(unsafe_code)]

pub mod args;
pub mod command;
pub mod error;
mod guard;
pub mod interactive;
mod output;
mod render;
pub mod script;
mod servers;
mod session;
pub mod shell;
