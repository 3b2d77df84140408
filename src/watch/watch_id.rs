//! The name of a watcher.

use std::fmt;

/// Names a watcher within its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct WatchId(i64);

impl WatchId {
    /// The id that speaks for no watcher or for all of them.
    pub const NONE: Self = Self(-1);

    /// The id that a stream chooses first.
    pub(super) const FIRST: Self = Self(0);

    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// Returns the number as which the client knows the watcher.
    pub const fn number(self) -> i64 {
        self.0
    }

    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for WatchId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
