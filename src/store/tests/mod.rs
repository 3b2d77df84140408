//! The store on the real engine.

mod faults;
mod harness;
mod limits;
mod random_faults;
mod restart;
mod stop;
mod view;
