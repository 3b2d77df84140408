//! The process and its operator: logs, signals, exit codes, and the watch on the disk.

pub mod disk;
pub mod progress;
pub mod signals;
