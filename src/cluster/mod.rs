//! Several nodes as one store.

pub mod node;
pub mod peer;
pub mod status;
