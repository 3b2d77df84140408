//! Parses SQL without a database: where a statement ends, and what kind it is. Pure.

mod kind;
mod lexer;
mod split;

pub use kind::{Kind, kind};
pub use split::{Piece, is_blank, split};
