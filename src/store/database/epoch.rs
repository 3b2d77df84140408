//! The fence between writers of the database. Who begins to write puts a random number into table `meta`, and each of its
//! transactions fails unless that is still there. So what a writer has read, and what it evaluated, is as it was when its
//! transaction commits, however often the leadership changed in between: whoever else has written has put its own number
//! there first.

use dqlite::wire::Param;

use super::write::SqlText;
use crate::store::schema;

/// The number of a writer; none before it has begun, when it can write nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Epoch(Option<i64>);

impl Epoch {
    /// Earlier versions add 1 to the number, which must not overflow.
    pub fn random() -> Self {
        Self(Some(rand::random::<i64>() >> 1))
    }

    /// NULL, which equals nothing, before the writer has begun.
    pub fn param(self) -> Param<'static> {
        self.0.map_or(Param::Null, Param::Integer)
    }

    pub fn is(self, stored: i64) -> bool {
        self.0 == Some(stored)
    }

    /// Returns the statement that violates a constraint unless the number is still there, and writes nothing.
    pub fn guard(self) -> SqlText<'static> {
        (schema::CHECK_EPOCH.into(), vec![self.param()])
    }
}
