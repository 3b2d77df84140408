//! Linearizable reads that wait for a proof. All that arrive while one proof is under way share the next one.
//!
//! Invariant: a proof that reads are answered by was begun after they had arrived.

use std::time::Duration;

/// Reads that may wait; a client that does not limit itself runs into the limits of connections and streams before.
pub const MAX_WAITING: usize = 64 * 1024;

/// The time for which the engine's answer that there is no other node is believed. A read that comes later has it asked again. Below the time that any other node
/// needs to be made a voter and to be elected.
pub const ALONE: Duration = Duration::from_millis(150);

/// Returns whether no other node can have committed anything: the engine of a node that leads, asked at `asked`, said that
/// there is no other.
pub fn is_alone(leads: bool, is_single: bool, asked: Duration, now: Duration) -> bool {
    is_single && leads && now <= asked + ALONE
}

/// Reads that have arrived, and wait for a proof to begin.
#[derive(Debug)]
pub struct Waiting<T>(Vec<T>);

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Waiting<T> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a read, or returns it if too many wait already. Those that were given up count no more.
    pub fn add(&mut self, read: T, is_given_up: impl Fn(&T) -> bool) -> Result<(), T> {
        if self.0.len() >= MAX_WAITING {
            self.0.retain(|read| !is_given_up(read));
        }
        if self.0.len() >= MAX_WAITING {
            return Err(read);
        }
        self.0.push(read);
        Ok(())
    }

    /// Takes the reads that wait now: a proof that begins after this call is one for them.
    pub fn take(&mut self, is_given_up: impl Fn(&T) -> bool) -> Vec<T> {
        let mut waiting = std::mem::take(&mut self.0);
        waiting.retain(|read| !is_given_up(read));
        waiting
    }

    /// Puts reads back, to wait for another proof.
    pub fn give_back(&mut self, reads: impl IntoIterator<Item = T>) {
        self.0.extend(reads);
    }
}

/// The one proof that a follower has asked the leader for, with the reads that it stands for.
#[derive(Debug)]
pub struct AskedProof<T> {
    next: u64,
    under_way: Option<(u64, Vec<T>)>,
}

/// The meaning of the leader's answer for the reads.
#[derive(Debug, PartialEq, Eq)]
pub enum Settled<T> {
    /// The index of this node holds what they must see.
    Answer(Vec<T>),
    /// They wait for another proof.
    TryAgain(Vec<T>),
    /// The answer is to no question of this session.
    Unknown,
}

impl<T> Default for AskedProof<T> {
    fn default() -> Self {
        Self {
            next: 1,
            under_way: None,
        }
    }
}

impl<T> AskedProof<T> {
    pub fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Begins a proof for reads that have arrived. Returns its number. The engine of this node is asked afterwards, so that
    /// its answer counts.
    pub fn begin(&mut self, reads: Vec<T>) -> u64 {
        debug_assert!(self.under_way.is_none(), "one proof at a time");
        let number = self.next;
        self.next += 1;
        self.under_way = Some((number, reads));
        number
    }

    /// Notes the answer of the leader. What it stands for is in the index already.
    pub fn settle(&mut self, number: u64, is_proven: bool) -> Settled<T> {
        let is_this = |(asked, _): &mut (u64, Vec<T>)| *asked == number;
        match self.under_way.take_if(is_this) {
            None => Settled::Unknown,
            Some((_, reads)) if is_proven => Settled::Answer(reads),
            Some((_, reads)) => Settled::TryAgain(reads),
        }
    }

    /// Ends the session. The reads have changed nothing, so they wait for the next one.
    pub fn end(self) -> Vec<T> {
        self.under_way.map(|(_, reads)| reads).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: fn(&u32) -> bool = |_| false;

    #[test]
    fn reads_that_arrive_during_a_proof_wait_for_the_next() {
        let (mut waiting, mut asked) = (Waiting::default(), AskedProof::default());
        waiting.add(1, NEVER).unwrap();
        let number = asked.begin(waiting.take(NEVER));
        waiting.add(2, NEVER).unwrap();
        assert_eq!(asked.settle(number + 1, true), Settled::Unknown);
        assert_eq!(asked.settle(number, true), Settled::Answer(vec![1]));
        assert_eq!(asked.settle(number, true), Settled::Unknown);
        assert_eq!(waiting.take(NEVER), [2]);
    }

    #[test]
    fn reads_without_a_proof_wait_on() {
        let (mut waiting, mut asked) = (Waiting::default(), AskedProof::default());
        let number = asked.begin(vec![1]);
        assert_eq!(asked.settle(number, false), Settled::TryAgain(vec![1]));
        asked.begin(vec![2]);
        waiting.give_back(asked.end());
        assert_eq!(waiting.take(NEVER), [2]);
    }

    #[test]
    fn the_number_of_reads_is_bounded_and_those_given_up_make_room() {
        let mut waiting = Waiting::default();
        for read in 0..MAX_WAITING as u32 {
            waiting.add(read, NEVER).unwrap();
        }
        assert_eq!(waiting.add(7, NEVER), Err(7));
        assert_eq!(waiting.add(7, |read| read % 2 == 0), Ok(()));
        assert_eq!(waiting.take(NEVER).len(), MAX_WAITING / 2 + 1);
    }

    #[test]
    fn a_node_is_alone_while_its_engine_said_so_a_moment_ago() {
        let asked = Duration::from_secs(7);
        assert!(is_alone(true, true, asked, asked + ALONE));
        let too_late = asked + ALONE + Duration::from_nanos(1);
        assert!(!is_alone(true, true, asked, too_late));
        assert!(!is_alone(false, true, asked, asked));
        assert!(!is_alone(true, false, asked, asked));
    }
}
