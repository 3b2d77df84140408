//! Starts and stops everything, in order.

mod next;
mod run;

pub use self::{
    next::take_next,
    run::{ServerError, run},
};
