//! Several nodes as one store.

pub mod certificates;
pub mod node;
pub mod peer;
pub mod status;
