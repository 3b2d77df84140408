//! What the process owes its operator: logs, signals, exit codes, and an eye on the disk.

pub mod disk;
pub mod limits;
pub mod progress;
pub mod signals;
