use dqlite::wire::NodeId;
use proptest::prelude::*;

use super::*;

fn entry(term: u64, index: u64) -> LastEntry {
    LastEntry { term, index }
}

#[test]
fn the_farthest_entry_counts_and_the_silent_are_forgotten() {
    let mut ends = LogEnds::default();
    for end in [entry(3, 100), entry(4, 96), entry(4, 95), entry(3, 200)] {
        ends.note(NodeId::new(1), end);
    }
    assert_eq!(ends.of(NodeId::new(1)), Some(entry(4, 96)));
    assert_eq!(ends.of(NodeId::new(2)), None);
    for id in 2..=MAX_NODES as u64 {
        ends.note(NodeId::new(id), entry(1, 1));
    }
    ends.note(NodeId::new(1), entry(4, 97));
    ends.note(NodeId::new(1000), entry(1, 1));
    assert_eq!(
        (ends.of(NodeId::new(1)), ends.of(NodeId::new(2))),
        (Some(entry(4, 97)), None)
    );
    assert_eq!(ends.0.len(), MAX_NODES);
}

#[test]
fn only_news_is_told() {
    let (mut ends, mut told) = (LogEnds::default(), LogEnds::default());
    ends.note(NodeId::new(1), entry(1, 5));
    ends.note(NodeId::new(2), entry(1, 5));
    assert_eq!(ends.news(&mut told).len(), 2);
    ends.note(NodeId::new(2), entry(1, 4));
    assert!(ends.news(&mut told).is_empty());
    ends.note(NodeId::new(2), entry(1, 6));
    assert_eq!(ends.news(&mut told), [(NodeId::new(2), entry(1, 6))]);
}

#[test]
fn a_log_with_less_in_the_same_term_or_of_an_earlier_one_has_lost() {
    let found = |term, last| Found { term, last };
    for (found, has_it) in [
        (found(4, entry(4, 100)), true),
        (found(4, entry(4, 101)), true),
        // Taken back for a leader of term 5, as far as anybody can tell.
        (found(5, entry(3, 90)), true),
        (found(4, entry(4, 99)), false),
        (found(4, entry(3, 120)), false),
        (found(3, entry(3, 120)), false),
    ] {
        assert_eq!(has_lost(found, entry(4, 100)), !has_it, "{found:?}");
    }
}

const NODES: usize = 3;

/// The log on a node's disk and, if it leads, the log in its memory, which may be longer. Logs are
/// the terms of their entries.
#[derive(Debug, Clone, Default)]
struct SimNode {
    term: u64,
    disk: Vec<u64>,
    leads: Option<Vec<u64>>,
}

impl SimNode {
    fn last(&self) -> LastEntry {
        entry(
            self.disk.last().copied().unwrap_or(0),
            self.disk.len() as u64,
        )
    }

    fn found(&self) -> Found {
        Found {
            term: self.term,
            last: self.last(),
        }
    }

    fn hears_of(&mut self, term: u64) {
        if term > self.term {
            self.term = term;
            self.leads = None;
        }
    }

    /// Follows a leader whose log is `log`, as far as `until`; may crash between taking back and appending.
    fn follow(&mut self, log: &[u64], until: usize, crashes: bool) {
        let same = self.disk.iter().zip(log).take_while(|(a, b)| a == b);
        let same = same.count();
        if same < until.min(self.disk.len()) {
            self.disk.truncate(same);
            if crashes {
                return;
            }
        }
        if until > self.disk.len() {
            self.disk.extend(&log[self.disk.len()..until]);
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// The voter decides the election, if it grants its vote.
    Stand {
        candidate: usize,
        voter: usize,
    },
    Append(usize),
    /// The leader's own disk catches up.
    Store {
        leader: usize,
        share: u8,
    },
    Replicate {
        leader: usize,
        to: usize,
        share: u8,
        crashes: bool,
    },
    Crash(usize),
    Tell(usize),
    /// Delivers a message that was told, in any order, or loses it.
    Arrive(u8),
    Copy(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let node = || 0..NODES;
    let step = prop_oneof![
        2 => (node(), node()).prop_map(|(candidate, voter)| Step::Stand { candidate, voter }),
        5 => node().prop_map(Step::Append),
        3 => (node(), any::<u8>()).prop_map(|(leader, share)| Step::Store { leader, share }),
        8 => (node(), node(), any::<u8>(), prop::bool::weighted(0.2)).prop_map(
            |(leader, to, share, crashes)| Step::Replicate { leader, to, share, crashes }
        ),
        1 => node().prop_map(Step::Crash),
        5 => node().prop_map(Step::Tell),
        5 => any::<u8>().prop_map(Step::Arrive),
        2 => node().prop_map(Step::Copy),
    ];
    prop::collection::vec(step, 1..200)
}

#[derive(Default)]
struct Sim {
    nodes: [SimNode; NODES],
    newest_term: u64,
    on_the_way: Vec<(usize, LastEntry)>,
    heard: LogEnds,
    copies: Vec<(usize, SimNode)>,
}

fn part(len: usize, share: u8) -> usize {
    len * (usize::from(share) + 1) / 256
}

impl Sim {
    fn take(&mut self, step: Step) {
        match step {
            Step::Stand { candidate, voter } => self.stand(candidate, voter),
            Step::Append(at) => {
                let node = &mut self.nodes[at];
                if let Some(log) = &mut node.leads {
                    log.push(node.term);
                }
            }
            Step::Store { leader, share } => {
                let node = &mut self.nodes[leader];
                if let Some(log) = &node.leads {
                    let until = part(log.len(), share).max(node.disk.len());
                    node.disk = log[..until].to_vec();
                }
            }
            Step::Replicate {
                leader,
                to,
                share,
                crashes,
            } if leader != to => self.replicate(leader, to, share, crashes),
            Step::Replicate { .. } => {}
            Step::Crash(at) => self.nodes[at].leads = None,
            Step::Tell(at) => self.on_the_way.push((at, self.nodes[at].last())),
            Step::Arrive(which) => {
                if !self.on_the_way.is_empty() {
                    let at = usize::from(which) % self.on_the_way.len();
                    let (id, end) = self.on_the_way.swap_remove(at);
                    self.heard.note(NodeId::new(id as u64), end);
                }
            }
            Step::Copy(at) => self.copies.push((at, self.nodes[at].clone())),
        }
    }

    fn stand(&mut self, candidate: usize, voter: usize) {
        self.newest_term += 1;
        let term = self.newest_term;
        self.nodes[candidate].hears_of(term);
        if voter == candidate {
            return;
        }
        self.nodes[voter].hears_of(term);
        if self.nodes[voter].last() <= self.nodes[candidate].last() {
            let mut log = self.nodes[candidate].disk.clone();
            log.push(term);
            self.nodes[candidate].leads = Some(log);
        }
    }

    fn replicate(&mut self, leader: usize, to: usize, share: u8, crashes: bool) {
        let Some(log) = self.nodes[leader].leads.clone() else {
            return;
        };
        let (term, other) = (self.nodes[leader].term, self.nodes[to].term);
        if other > term {
            self.nodes[leader].hears_of(other);
            return;
        }
        self.nodes[to].hears_of(term);
        self.nodes[to].follow(&log, part(log.len(), share), crashes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_history_of_raft_is_refused_and_no_copy_without_what_was_told_is_accepted(
        steps in steps()
    ) {
        let mut sim = Sim::default();
        for step in steps {
            sim.take(step);
            for (id, node) in sim.nodes.iter().enumerate() {
                if let Some(told) = sim.heard.of(NodeId::new(id as u64)) {
                    prop_assert!(!has_lost(node.found(), told), "{node:?} told {told:?}");
                }
            }
        }
        for (id, copy) in &sim.copies {
            let Some(told) = sim.heard.of(NodeId::new(*id as u64)) else { continue };
            let has_entry = copy.disk.get(told.index.wrapping_sub(1) as usize) == Some(&told.term);
            let is_refused = copy.term <= told.term && told.index > 0 && !has_entry;
            prop_assert_eq!(has_lost(copy.found(), told), is_refused, "{:?} told {:?}", copy, told);
        }
    }
}
