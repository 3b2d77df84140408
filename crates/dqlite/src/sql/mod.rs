//! Parses SQL without a database: where a statement ends, and what kind it is. Pure.

mod conflict;
mod kind;
mod lexer;
mod split;

pub use conflict::fails_halfway;
pub use kind::{Kind, depends_on_schema, kind};
pub use split::{Piece, is_blank, split};
