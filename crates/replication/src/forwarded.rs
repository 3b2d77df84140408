//! The requests that a follower has forwarded to the leader, and that are not answered yet.
//!
//! Invariant: a request that may have reached the leader's writer is never forwarded again. It is answered by the leader, or
//! as of unknown outcome when the session ends. Those that were not forwarded wait for the next leader, and so do those that
//! the leader returned when it ceased to lead: its writer has not begun them, and nobody has them any more.

use std::collections::HashMap;

/// Answers that a follower waits for; it forwards no more requests before it has some.
pub const MAX_OUTSTANDING: usize = 4096;

#[derive(Debug)]
pub struct Forwarded<T> {
    next: u64,
    outstanding: HashMap<u64, T>,
}

impl<T> Default for Forwarded<T> {
    fn default() -> Self {
        Self {
            next: 1,
            outstanding: HashMap::new(),
        }
    }
}

impl<T> Forwarded<T> {
    pub fn has_room(&self) -> bool {
        self.outstanding.len() < MAX_OUTSTANDING
    }

    pub fn is_empty(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// Makes the message that forwards a request, by its number in the session, and notes what is needed to answer it.
    /// Returns the message, if there is one.
    pub fn forward<M>(&mut self, request: impl FnOnce(u64) -> Option<(M, T)>) -> Option<M> {
        let number = self.next;
        self.next += 1;
        let (message, request) = request(number)?;
        self.outstanding.insert(number, request);
        Some(message)
    }

    /// Takes the request that an answer is for; none if it is for none.
    pub fn answered(&mut self, number: u64) -> Option<T> {
        self.outstanding.remove(&number)
    }

    /// Ends the session. The outcome of what is returned is unknown: it has reached the leader, for all that is known.
    pub fn end(self) -> Vec<T> {
        let mut unknown: Vec<_> = self.outstanding.into_iter().collect();
        unknown.sort_unstable_by_key(|(number, _)| *number);
        unknown.into_iter().map(|(_, request)| request).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_answered_once_or_of_unknown_outcome() {
        let mut forwarded = Forwarded::default();
        let numbers = ["a", "b", "c"]
            .map(|request| forwarded.forward(|number| Some((number, request))).unwrap());
        assert_eq!(forwarded.forward(|_| None::<((), _)>), None);
        assert_eq!(forwarded.answered(numbers[1]), Some("b"));
        assert_eq!(forwarded.answered(numbers[1]), None);
        assert_eq!(forwarded.answered(77), None);
        assert_eq!(forwarded.end(), ["a", "c"]);
    }

    #[test]
    fn a_follower_waits_for_answers_before_it_forwards_more() {
        let mut forwarded = Forwarded::default();
        let numbers = (0..MAX_OUTSTANDING)
            .map(|request| forwarded.forward(|number| Some((number, request))).unwrap());
        let numbers: Vec<_> = numbers.collect();
        assert!(!forwarded.has_room());
        forwarded.answered(numbers[0]);
        assert!(forwarded.has_room());
    }
}
