//! The JSON gateway, `/v3/…`, over plain HTTP/1.1.

pub mod client;
mod errors;
mod kv;
mod paths;
mod recipes;
mod streams;
