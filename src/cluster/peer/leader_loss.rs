//! Tells the loss of a leader from a leadership that was handed over: the first is a warning, the second is not.

use std::{
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use replication::View;

/// The time after which a loss is one: the word of a leader that hands over comes by another connection than the votes
/// for the next one.
const JUDGED_AFTER: Duration = Duration::from_millis(500);

/// The handover that this node knows of, by the id of the leader that gives the leadership away.
#[derive(Debug, Default)]
pub struct HandOvers(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    leader: Option<u64>,
    is_stopping: bool,
}

impl HandOvers {
    /// The leader `id` gives the leadership away.
    pub fn note(&self, id: u64) {
        self.lock().leader = Some(id);
    }

    /// A node leads, or leads on.
    pub fn forget(&self) {
        self.lock().leader = None;
    }

    /// This node stops: how its cluster goes on is no business of its log.
    pub fn note_stopping(&self) {
        self.lock().is_stopping = true;
    }

    fn is_stopping(&self) -> bool {
        self.lock().is_stopping
    }

    fn is_planned(&self, id: u64) -> bool {
        self.lock().leader == Some(id)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().expect("no panic while it is held")
    }
}

/// The end of a leader, as other nodes see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderEnd {
    pub id: u64,
    pub address: String,
    /// It had given the leadership away.
    pub is_planned: bool,
}

#[derive(Debug)]
struct Gone {
    id: u64,
    address: String,
    term: u64,
    since: Duration,
}

/// Judges each change of the leader.
#[derive(Debug, Default)]
pub struct Losses {
    gone: Option<Gone>,
}

impl Losses {
    /// Looks at the view before and the present one, at `now`. Returns the end of a leader, once for each.
    pub fn look(
        &mut self,
        known: &View,
        view: &View,
        now: Duration,
        hand_overs: &HandOvers,
    ) -> Option<LeaderEnd> {
        if let Some((id, address)) = &known.leader
            && view.leader_id() != *id
            && self.gone.is_none()
        {
            self.gone = Some(Gone {
                id: *id,
                address: address.clone(),
                term: known.term,
                since: now,
            });
        }
        let gone = self.gone.as_ref()?;
        // An engine that did not answer in time names the same one again.
        if hand_overs.is_stopping() || view.names(gone.id, gone.term) {
            self.gone = None;
            return None;
        }
        let is_planned = hand_overs.is_planned(gone.id);
        if !is_planned && now < gone.since + JUDGED_AFTER {
            return None;
        }
        let Gone { id, address, .. } = self.gone.take()?;
        Some(LeaderEnd {
            id,
            address,
            is_planned,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn led_by(id: u64, term: u64) -> View {
        View {
            leader: (id != 0).then(|| (id, format!("node{id}:1"))),
            term,
        }
    }

    /// Looks at one view after the other, 50 ms apart, and then at the last one for a second.
    fn losses(views: &[View], hand_overs: &HandOvers) -> Vec<u64> {
        let (mut losses, mut found) = (Losses::default(), Vec::new());
        let last = &views[views.len() - 1];
        let later = std::iter::repeat_n(last, 20);
        let mut known = View::default();
        for (at, view) in views.iter().chain(later).enumerate() {
            let now = Duration::from_millis(50 * at as u64);
            let end = losses.look(&known, view, now, hand_overs);
            found.extend(end.filter(|end| !end.is_planned).map(|end| end.id));
            known = view.clone();
        }
        found
    }

    #[test]
    fn a_leader_that_another_one_follows_is_lost_once() {
        let none = HandOvers::default();
        for views in [
            vec![led_by(1, 1), led_by(2, 2)],
            vec![led_by(1, 1), led_by(0, 1), led_by(0, 2), led_by(2, 2)],
            vec![led_by(1, 1), led_by(0, 2)],
            vec![led_by(1, 1), led_by(0, 2), led_by(1, 2)],
        ] {
            assert_eq!(losses(&views, &none), [1], "{views:?}");
        }
    }

    #[test]
    fn a_leader_that_hands_over_is_not_lost() {
        let hand_overs = HandOvers::default();
        hand_overs.note(1);
        let views = [led_by(1, 1), led_by(0, 1), led_by(2, 2)];
        assert!(losses(&views, &hand_overs).is_empty());
        hand_overs.forget();
        assert_eq!(losses(&views, &hand_overs), [1], "it has led on");
    }

    #[test]
    fn the_word_of_a_leader_that_hands_over_may_come_late() {
        let (mut losses, hand_overs) = (Losses::default(), HandOvers::default());
        let (old, next) = (led_by(1, 1), led_by(2, 2));
        let end = losses.look(&old, &next, Duration::ZERO, &hand_overs);
        assert_eq!(end, None);
        hand_overs.note(1);
        let end = losses.look(&next, &next, JUDGED_AFTER, &hand_overs);
        assert!(end.is_some_and(|end| end.is_planned));
    }

    #[test]
    fn an_engine_that_did_not_answer_has_lost_nobody() {
        let views = [led_by(1, 1), led_by(0, 1), led_by(1, 1)];
        assert!(losses(&views, &HandOvers::default()).is_empty());
    }

    #[test]
    fn a_node_that_stops_or_starts_loses_nobody() {
        let hand_overs = HandOvers::default();
        assert!(losses(&[led_by(0, 0), led_by(1, 1)], &hand_overs).is_empty());
        hand_overs.note_stopping();
        assert!(losses(&[led_by(1, 1), led_by(0, 1)], &hand_overs).is_empty());
    }
}
