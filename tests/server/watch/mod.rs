//! The Watch service.

mod cancel;
mod create;
mod events;
mod fragments;
mod history;
mod load;
mod progress;
