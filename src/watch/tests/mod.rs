//! The hub and its streams, driven without connections.

mod cases;
mod client;
mod model;
mod stress;
