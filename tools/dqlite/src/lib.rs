//! The dqlite shell: SQL and cluster commands for a dqlite cluster.
//!
//! | Module | Owns |
//! |---|---|
//! | `args` | the command line |
//! | `servers` | the list of servers, and connections to them |
//! | `session` | the connection to the leader, and the statements on it |
//! | `guard` | refuses statements that would harm a server |
//! | `command` | the commands, which begin with a full stop |
//! | `render` | rows as text |
//! | `output` | the destination of text: a stream, a file, a pager |
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
