//! The table of exit codes and the form of durations that the command lines of `k8s-dqlite`, `k8sd` and `dqlite` have in
//! common.
#![forbid(unsafe_code)]

mod duration;
mod exit;

pub use self::{
    duration::{DurationError, GoDuration, with_unit},
    exit::Exit,
};
