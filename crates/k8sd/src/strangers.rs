//! Slots for connections whose client has not proven to be a member.
//!
//! Everybody may connect, so an attacker can take all slots. Then the oldest connection is closed: a client that is
//! slow on purpose waits in vain, and a member has its certificate judged within milliseconds.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use tokio::task::AbortHandle;

/// Handshakes of all members at once, and of some that join.
const MAX_STRANGERS: usize = 256;

/// The tasks, by the order in which they came. A task is unknown for a moment.
type Tasks = BTreeMap<u64, Option<AbortHandle>>;

#[derive(Default)]
pub struct Strangers {
    tasks: Arc<Mutex<Tasks>>,
    next: u64,
}

/// A place, which is given back when it is dropped.
pub struct Slot {
    tasks: Arc<Mutex<Tasks>>,
    number: u64,
}

impl Strangers {
    /// A place, somebody else's if there is none.
    pub fn enter(&mut self) -> Slot {
        let number = self.next;
        self.next += 1;
        let mut tasks = self.tasks.lock().expect("no panic while locked");
        tasks.insert(number, None);
        if tasks.len() > MAX_STRANGERS
            && let Some((_, Some(first))) = tasks.pop_first()
        {
            first.abort();
        }
        Slot {
            tasks: self.tasks.clone(),
            number,
        }
    }

    /// The task of the place that was taken last.
    pub fn is_task(&self, task: AbortHandle) {
        let mut tasks = self.tasks.lock().expect("no panic while locked");
        // It may have ended already.
        if let Some(known) = tasks.get_mut(&self.next.wrapping_sub(1)) {
            *known = Some(task);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut tasks = self.tasks.lock().expect("no panic while locked");
        tasks.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_of_too_many_goes_and_who_has_left_makes_room() {
        let mut strangers = Strangers::default();
        let mut tasks = Vec::new();
        let mut slots = Vec::new();
        for _ in 0..MAX_STRANGERS {
            slots.push(strangers.enter());
            let task = tokio::spawn(std::future::pending::<()>());
            strangers.is_task(task.abort_handle());
            tasks.push(task);
        }
        drop(slots.remove(1));
        slots.push(strangers.enter());
        tokio::task::yield_now().await;
        assert!(tasks.iter().all(|task| !task.is_finished()));
        slots.push(strangers.enter());
        assert!(tasks.remove(0).await.unwrap_err().is_cancelled());
        assert!(tasks.iter().all(|task| !task.is_finished()));
        drop(slots);
        assert!(strangers.tasks.lock().unwrap().is_empty());
    }
}
