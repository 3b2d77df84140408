//! The reader of the engine's files on files of the real engine: what it wrote before it was stopped
//! or killed is accepted, and what was changed since is noticed.

mod changes;
mod child;
#[path = "../engine/mod.rs"]
#[allow(dead_code)]
mod engine;
mod files;
mod states;
