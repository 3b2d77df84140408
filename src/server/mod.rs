//! Starts and stops everything, in order.

mod client_urls;
mod next;
mod reload;
mod run;
mod told;

pub use self::{
    next::take_next,
    run::{ServerError, run},
};
