//! Holds the tree against what docs/ARCHITECTURE.md says of it. Run it by `scripts/test tidy`.
//!
//! The page is the input: its block `arrows` says which room of `src/` may import which, its block `crates` which
//! package needs which, and its lists say where SQL, `unsafe` and gRPC's status may be. So page and code cannot part.
#![forbid(unsafe_code)]

#[cfg(test)]
mod comments;
#[cfg(test)]
mod docs;
#[cfg(test)]
mod imports;
#[cfg(test)]
mod page;
#[cfg(test)]
mod rooms;
#[cfg(test)]
mod rust;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tree;
#[cfg(test)]
mod wrapped;
