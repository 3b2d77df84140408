//! A model of a node's index: the live keys, and all versions since the compaction.

use std::collections::VecDeque;

use etcd_state::mvcc::Revision;

use crate::StoreState;

/// The number of keys.
pub const KEYS: usize = 4;

/// The one history of a schedule.
pub const CLUSTER_ID: u64 = 42;

/// One write: each revision has one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub revision: Revision,
    pub key: usize,
    /// The operation that wrote it, which is its value too.
    pub operation: usize,
}

/// The newest row of each key.
pub type Live = [Option<Row>; KEYS];

#[derive(Debug, Clone, Default)]
pub struct Index {
    pub is_loaded: bool,
    pub state: StoreState,
    pub live: Live,
    live_at_compaction: Live,
    rows: VecDeque<Row>,
}

impl Index {
    /// The state as a follower tells it, which has nothing before it is loaded.
    pub fn told(&self) -> StoreState {
        match self.is_loaded {
            true => self.state,
            false => StoreState::default(),
        }
    }

    /// Builds an index from everything since a compaction: the live rows there, and all later ones. Fails if there is a gap.
    pub fn whole(
        rows: &[Row],
        compact_revision: Revision,
        until: Revision,
    ) -> Result<Self, String> {
        let mut index = Self {
            is_loaded: true,
            ..Self::default()
        };
        index.state = StoreState {
            cluster_id: CLUSTER_ID,
            revision: compact_revision.max(Revision::FIRST),
            compact_revision,
        };
        for row in rows {
            if row.revision <= compact_revision {
                index.live[row.key] = Some(*row);
                index.live_at_compaction[row.key] = Some(*row);
            } else {
                index.apply(&[*row])?;
            }
        }
        match index.state.revision == until {
            true => Ok(index),
            false => Err(format!(
                "the store ends at {}, not {until}",
                index.state.revision
            )),
        }
    }

    /// Appends rows. Fails if they do not continue.
    pub fn apply(&mut self, rows: &[Row]) -> Result<(), String> {
        for row in rows {
            if row.revision != self.state.revision.next() {
                return Err(format!(
                    "row {} after {}",
                    row.revision, self.state.revision
                ));
            }
            self.state.revision = row.revision;
            self.live[row.key] = Some(*row);
            self.rows.push_back(*row);
        }
        Ok(())
    }

    pub fn compact(&mut self, revision: Revision) {
        if revision > self.state.revision {
            return;
        }
        self.state.compact_revision = self.state.compact_revision.max(revision);
        while let Some(row) = self.rows.front()
            && row.revision <= revision
        {
            self.live_at_compaction[row.key] = Some(*row);
            self.rows.pop_front();
        }
    }

    /// Returns at most `limit` rows from a revision on; none if some of them are compacted.
    pub fn rows_from(&self, revision: Revision, limit: usize) -> Option<Vec<Row>> {
        if revision <= self.state.compact_revision {
            return None;
        }
        let skipped = self.rows.iter().skip_while(|row| row.revision < revision);
        Some(skipped.take(limit).copied().collect())
    }

    /// Returns everything that is kept, in the order of revisions.
    pub fn versions(&self) -> Vec<Row> {
        let mut rows: Vec<_> = self.live_at_compaction.iter().flatten().copied().collect();
        rows.sort_unstable_by_key(|row| row.revision);
        rows.extend(&self.rows);
        rows
    }
}
