//! Inspects an archive: the objects in it, and whether all of it is whole. Nothing is written.

mod contents;
#[cfg(test)]
mod tests;
mod verify;

use etcd_state::mvcc::Revision;

pub use self::{
    contents::{Contents, contents},
    verify::{Verified, verify},
};
use crate::{ChainError, DeltaError, DeltaName, ObjectError};

#[derive(Debug, thiserror::Error)]
pub enum InspectionError {
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("{name} is damaged: {source}")]
    Changes { name: DeltaName, source: DeltaError },
    #[error("it begins with {name}, which announces no base, so nothing leads to what follows")]
    Headless { name: DeltaName },
    #[error("cannot open {path}: {source}", path = verify::NOWHERE)]
    Nowhere { source: std::io::Error },
}

/// Revisions that are not in an archive, because it could not be written when they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    pub first: Revision,
    pub last: Revision,
}
