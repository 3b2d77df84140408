//! The Txn call.

mod branches;
mod compares;
mod nested;
mod refusals;
