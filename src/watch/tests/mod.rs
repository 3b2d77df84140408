//! The hub and its streams, driven without connections.

mod cases;
mod client;
mod follower;
mod model;
mod stress;
