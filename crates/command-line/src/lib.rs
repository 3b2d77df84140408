//! The table of exit codes, the form of durations and the list of findings of `doctor` that the command lines of
//! `k8s-dqlite`, `k8sd` and `dqlite` have in common.
#![forbid(unsafe_code)]

mod diagnosis;
mod duration;
mod exit;

pub use self::{
    diagnosis::{Diagnosis, Fault, Finding, Severity},
    duration::{DurationError, GoDuration, with_unit},
    exit::Exit,
};
