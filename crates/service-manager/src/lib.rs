//! Speaks with the service manager that has started the process: systemd, or one with its protocols.
//!
//! | Module | Owns |
//! |---|---|
//! | `notify` | what the service manager is told: ready, reloading, stopping, and a line for people |
//! | `watchdog` | the signs of life that it asks for |
//! | `sockets` | the listening sockets that it passes |
//!
//! Without a service manager nothing is told, and there are no sockets. For one that does not read, nobody waits for longer than a
//! second.
#![forbid(unsafe_code)]

mod notify;
mod sockets;
mod watchdog;

pub use self::{
    notify::{is_listening, ready, reloading, status, stopping},
    sockets::{Passed, Sockets},
    watchdog::Watchdog,
};
