//! The dqlite shell: SQL and cluster commands for a dqlite cluster.
//!
//! | Module | Owns |
//! |---|---|
//! | `args` | the command line |
//! | `servers` | whom to ask, and how to reach them |
//! | `session` | the connection to the leader, and what runs on it |
//! | `guard` | what must not be sent, because it would harm a server |
//! | `sql` | where statements end. Pure |
//! | `command` | what begins with a full stop |
//! | `render` | rows as text |
//! | `output` | where text goes: a stream, a file, a pager |
//! | `shell` | one session of a user: settings, statements and commands in their order |
//! | `interactive` | the prompt |
//! | `error` | errors and exit codes |

pub mod error;
pub mod render;
pub mod sql;
