//! Decides to which revision to compact, and when not to. Pure: called once in each interval.

use etcd_state::mvcc::Revision;

/// Intervals without a compaction by a client after which the server compacts itself. An apiserver
/// compacts once in each interval of the same length, so one without is chance.
const QUIET_INTERVALS: u32 = 2;

#[derive(Debug)]
pub struct Policy {
    /// The revision at the last tick: its history is one interval old by the next.
    previous: Revision,
    compacted: Revision,
    client_count: u64,
    quiet: u32,
}

impl Policy {
    pub fn new(revision: Revision, client_count: u64) -> Self {
        Self {
            previous: revision,
            compacted: Revision::NONE,
            client_count,
            quiet: 0,
        }
    }

    /// Takes the current revision and the number of compactions by clients so far.
    pub fn tick(&mut self, revision: Revision, client_count: u64) -> Option<Revision> {
        let candidate = std::mem::replace(&mut self.previous, revision);
        if client_count != self.client_count {
            self.client_count = client_count;
            self.quiet = 0;
            return None;
        }
        self.quiet = self.quiet.saturating_add(1);
        // Revision 1 is the empty store.
        if self.quiet < QUIET_INTERVALS || candidate <= self.compacted.max(Revision::FIRST) {
            return None;
        }
        self.compacted = candidate;
        Some(candidate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(policy: &mut Policy, revision: i64, client_count: u64) -> Option<i64> {
        let candidate = policy.tick(Revision::new(revision), client_count);
        candidate.map(Revision::number)
    }

    #[test]
    fn compacts_to_the_revision_of_the_tick_before() {
        let mut policy = Policy::new(Revision::new(1), 0);
        assert_eq!(tick(&mut policy, 100, 0), None);
        assert_eq!(tick(&mut policy, 200, 0), Some(100));
        assert_eq!(tick(&mut policy, 300, 0), Some(200));
    }

    #[test]
    fn leaves_it_to_clients_that_compact() {
        let mut policy = Policy::new(Revision::new(10), 0);
        for count in 1..5 {
            assert_eq!(tick(&mut policy, 100 * count as i64, count), None);
        }
        assert_eq!(tick(&mut policy, 500, 4), None);
        assert_eq!(tick(&mut policy, 600, 4), Some(500));
    }

    #[test]
    fn an_idle_store_is_compacted_once() {
        let mut policy = Policy::new(Revision::new(50), 0);
        assert_eq!(tick(&mut policy, 50, 0), None);
        assert_eq!(tick(&mut policy, 50, 0), Some(50));
        assert_eq!(tick(&mut policy, 50, 0), None);
    }
}
