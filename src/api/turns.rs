//! One thing at a time, in turn: who asks for much waits for himself only.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// Those who wait with one key, at 50 ms each: nobody waits longer for himself. Further ones are refused.
const MAX_WAITING_EACH: usize = 64;

/// Keys with somebody who waits. Further ones are refused.
const MAX_KEYS: usize = 256;

/// Gives turns: to each key one, and then again.
#[derive(Debug)]
pub struct Turns<K: Eq + Hash + Clone>(Arc<Mutex<State<K>>>);

#[derive(Debug)]
struct State<K: Eq + Hash + Clone> {
    is_taken: bool,
    waiting: HashMap<K, VecDeque<oneshot::Sender<Turn<K>>>>,
    /// The keys of `waiting`, the next one first.
    order: VecDeque<K>,
}

/// A turn, which ends when it is dropped.
#[derive(Debug)]
pub struct Turn<K: Eq + Hash + Clone> {
    /// None once it is somebody else's.
    state: Option<Arc<Mutex<State<K>>>>,
}

/// Too many wait already.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMany;

impl<K: Eq + Hash + Clone> Default for Turns<K> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State {
            is_taken: false,
            waiting: HashMap::new(),
            order: VecDeque::new(),
        })))
    }
}

impl<K: Eq + Hash + Clone> Turns<K> {
    /// Waits for a turn of this key.
    pub async fn next(&self, key: K) -> Result<Turn<K>, TooMany> {
        let told = match self.enter(key)? {
            Entered::Now(turn) => return Ok(turn),
            Entered::Waits(told) => told,
        };
        // The sender is in the state until it is used.
        told.await.map_err(|_| TooMany)
    }

    fn enter(&self, key: K) -> Result<Entered<K>, TooMany> {
        let mut state = lock(&self.0);
        if !state.is_taken {
            state.is_taken = true;
            let state = Some(self.0.clone());
            return Ok(Entered::Now(Turn { state }));
        }
        let state = &mut *state;
        let (tell, told) = oneshot::channel();
        let is_full = state.waiting.len() >= MAX_KEYS;
        match state.waiting.get_mut(&key) {
            Some(waiting) => {
                waiting.retain(|tell| !tell.is_closed());
                if waiting.len() >= MAX_WAITING_EACH {
                    return Err(TooMany);
                }
                waiting.push_back(tell);
            }
            None if is_full => return Err(TooMany),
            None => {
                state.order.push_back(key.clone());
                state.waiting.insert(key, VecDeque::from([tell]));
            }
        }
        Ok(Entered::Waits(told))
    }
}

enum Entered<K: Eq + Hash + Clone> {
    Now(Turn<K>),
    Waits(oneshot::Receiver<Turn<K>>),
}

impl<K: Eq + Hash + Clone> State<K> {
    /// Returns the next one that waits; without one, the turn is free.
    fn next(&mut self) -> Option<oneshot::Sender<Turn<K>>> {
        while let Some(key) = self.order.pop_front() {
            let Some(waiting) = self.waiting.get_mut(&key) else {
                continue;
            };
            let next = waiting.pop_front();
            match waiting.is_empty() {
                true => drop(self.waiting.remove(&key)),
                false => self.order.push_back(key),
            }
            if next.is_some() {
                return next;
            }
        }
        self.is_taken = false;
        None
    }
}

impl<K: Eq + Hash + Clone> Drop for Turn<K> {
    fn drop(&mut self) {
        let Some(state) = self.state.take() else {
            return;
        };
        loop {
            let Some(next) = lock(&state).next() else {
                return;
            };
            let turn = Turn {
                state: Some(state.clone()),
            };
            match next.send(turn) {
                Ok(()) => return,
                // Whoever has left gets no turn.
                Err(mut turn) => turn.state = None,
            }
        }
    }
}

fn lock<K: Eq + Hash + Clone>(state: &Mutex<State<K>>) -> MutexGuard<'_, State<K>> {
    // Nothing under the lock can panic half way.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::task::{JoinSet, yield_now};

    use super::*;

    #[tokio::test]
    async fn who_asks_for_much_waits_for_himself_only() {
        let turns = Arc::new(Turns::default());
        let first = turns.next("many").await.unwrap();
        let mut order = Vec::new();
        let mut waiting = JoinSet::new();
        for key in ["many", "many", "many", "one", "another"] {
            let turns = turns.clone();
            waiting.spawn(async move {
                let _turn = turns.next(key).await.unwrap();
                key
            });
            yield_now().await;
        }
        drop(first);
        while let Some(key) = waiting.join_next().await {
            order.push(key.unwrap());
        }
        assert_eq!(order, ["many", "one", "another", "many", "many"]);
        drop(turns.next("many").await.unwrap());
    }

    #[tokio::test]
    async fn too_many_are_refused_and_who_left_does_not_count() {
        let turns = Arc::new(Turns::default());
        let first = turns.next(0).await.unwrap();
        let mut waiting = JoinSet::new();
        let keys = (0..MAX_WAITING_EACH).map(|_| 0).chain(1..MAX_KEYS);
        for key in keys {
            let turns = turns.clone();
            waiting.spawn(async move { drop(turns.next(key).await) });
        }
        // They come in order.
        while lock(&turns.0).waiting.len() < MAX_KEYS {
            yield_now().await;
        }
        assert_eq!(turns.next(0).await.err(), Some(TooMany));
        assert_eq!(turns.next(MAX_KEYS).await.err(), Some(TooMany));
        waiting.shutdown().await;
        let waits = turns.clone();
        let again = tokio::spawn(async move { waits.next(0).await.is_ok() });
        yield_now().await;
        drop(first);
        assert!(again.await.unwrap());
        assert!(lock(&turns.0).waiting.is_empty());
        drop(turns.next(0).await.unwrap());
    }
}
