//! The number that names a node.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Identifies a node in its cluster. Fixed for the life of its directory.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
#[repr(transparent)]
pub struct NodeId(u64);

impl NodeId {
    /// No node, or one of which only the address is known.
    pub const UNKNOWN: Self = Self(0);

    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number in files and on the wire.
    pub const fn number(self) -> u64 {
        self.0
    }

    pub const fn is_unknown(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::LowerHex for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, formatter)
    }
}
