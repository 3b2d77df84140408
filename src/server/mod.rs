//! Starts and stops everything, in order.

mod run;

pub use self::run::{ServerError, run};
