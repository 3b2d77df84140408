//! The store on the real engine.

mod faults;
mod harness;
mod restart;
