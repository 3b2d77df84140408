//! What the command lines of `k8s-dqlite`, `k8sd` and `dqlite` have in common: one table of exit codes, and one form of
//! durations.
#![forbid(unsafe_code)]

mod duration;
mod exit;

pub use self::{
    duration::{DurationError, GoDuration, with_unit},
    exit::Exit,
};
