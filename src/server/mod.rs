//! Starts and stops everything, in order.

mod client_urls;
mod next;
mod run;

pub use self::{
    next::take_next,
    run::{ServerError, run},
};
