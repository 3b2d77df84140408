//! Answers that take long to compute, one for each question: computed one at a time, and kept for a while.
//!
//! Invariant: however many ask, and whoever of them gives up, computing takes at most one part in [`REST`] of one core.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Mutex, task::spawn_blocking, time::sleep_until};

use super::sizes::Query;

/// The pause after each computation, as a multiple of the time that it took.
const REST: u32 = 20;

/// The longest wait for the end of a pause.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// The age from which an answer is not given any more, even if there is no newer one.
const MAX_AGE: Duration = Duration::from_secs(600);

/// Questions whose answers are kept.
const MAX_KEPT: usize = 8;

/// Too much was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "others ask for other prefixes or depths, and this server walks over its keys only now and then: ask again in {} s",
    .0.as_secs() + 1
)]
pub struct Busy(pub Duration);

#[derive(Debug)]
pub struct Paced<T> {
    /// Held while something is computed.
    state: Arc<Mutex<State<T>>>,
}

impl<T: Send + Sync + 'static> Paced<T> {
    /// Answers are given again until they have `min_age`, or longer if they took long.
    pub fn new(min_age: Duration) -> Self {
        let state = State {
            min_age,
            kept: Vec::new(),
            next_at: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Returns what `compute` returns, or returned a moment ago.
    pub async fn get(
        &self,
        query: &Query,
        compute: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Arc<T>, Busy> {
        let deadline = Instant::now() + MAX_WAIT;
        loop {
            let mut state = self.state.clone().lock_owned().await;
            match state.next(query, Instant::now(), deadline) {
                Next::Give(value) => return Ok(value),
                Next::Refuse(wait) => return Err(Busy(wait)),
                Next::WaitUntil(at) => {
                    drop(state);
                    sleep_until(at.into()).await;
                }
                Next::Compute => {
                    let query = query.clone();
                    // If whoever asked has gone, it still has the lock until its end, and its answer is kept.
                    let computing = spawn_blocking(move || {
                        let began = Instant::now();
                        let value = Arc::new(compute());
                        state.keep(query, value.clone(), began, Instant::now());
                        value
                    });
                    // A panic has ended the process.
                    return Ok(computing.await.expect("it does not fail"));
                }
            }
        }
    }
}

/// The decision about a question.
#[derive(Debug, PartialEq, Eq)]
enum Next<T> {
    Give(Arc<T>),
    Compute,
    WaitUntil(Instant),
    /// The time until it would be computed.
    Refuse(Duration),
}

#[derive(Debug)]
struct State<T> {
    min_age: Duration,
    /// The newest first.
    kept: Vec<Kept<T>>,
    /// The end of the pause; none if nothing was computed.
    next_at: Option<Instant>,
}

#[derive(Debug)]
struct Kept<T> {
    query: Query,
    value: Arc<T>,
    at: Instant,
    took: Duration,
}

impl<T> State<T> {
    fn next(&self, query: &Query, now: Instant, deadline: Instant) -> Next<T> {
        let found = self.kept.iter().find(|kept| kept.query == *query);
        let age = |kept: &Kept<T>| now.saturating_duration_since(kept.at);
        match (found, self.next_at) {
            (Some(kept), _) if age(kept) < self.min_age.max(kept.took * REST) => {
                Next::Give(kept.value.clone())
            }
            (_, Some(at)) if at > deadline => match found {
                Some(kept) if age(kept) < MAX_AGE => Next::Give(kept.value.clone()),
                _ => Next::Refuse(at - now),
            },
            (_, Some(at)) if at > now => Next::WaitUntil(at),
            _ => Next::Compute,
        }
    }

    fn keep(&mut self, query: Query, value: Arc<T>, began: Instant, now: Instant) {
        let took = now - began;
        self.kept.retain(|kept| kept.query != query);
        self.kept.truncate(MAX_KEPT - 1);
        let kept = Kept {
            query,
            value,
            at: now,
            took,
        };
        self.kept.insert(0, kept);
        self.next_at = Some(now + took * REST);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    use bytes::Bytes;
    use tokio::{sync::oneshot, task::JoinSet};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn query(depth: u32) -> Query {
        Query::new(Bytes::new(), depth)
    }

    /// The time between computations is at least their pause, whatever is asked when, in a simulated time.
    #[test]
    fn any_questions_take_at_most_their_part_of_a_core() {
        for took_ms in [10, 200, 3000] {
            let took = Duration::from_millis(took_ms);
            let mut state = State {
                min_age: Duration::from_millis(500),
                kept: Vec::new(),
                next_at: None,
            };
            let began = Instant::now();
            let (mut now, mut computed, mut refused) = (began, 0, 0);
            for question in 0..10_000 {
                let asked = query(1 + question * 7 % 8);
                now += Duration::from_millis(u64::from(question % 40));
                match state.next(&asked, now, now + MAX_WAIT) {
                    Next::Compute => {
                        state.keep(asked, Arc::new(()), now, now + took);
                        now += took;
                        computed += 1;
                    }
                    Next::Refuse(wait) => {
                        assert!(wait > MAX_WAIT);
                        refused += 1;
                    }
                    Next::WaitUntil(at) => assert!(at > now && at <= now + MAX_WAIT),
                    Next::Give(_) => {}
                }
            }
            let most = (now - began).as_millis() as u64 / (took_ms * u64::from(REST)) + 1;
            assert!(computed <= most && computed > 0, "{computed} of {most}");
            assert_eq!(refused > 0, took * REST > MAX_WAIT);
        }
    }

    #[test]
    fn an_older_answer_is_better_than_none_but_not_for_ever() {
        let mut state = State {
            min_age: SECOND,
            kept: Vec::new(),
            next_at: None,
        };
        let now = Instant::now();
        state.keep(query(1), Arc::new(1), now, now);
        let later = now + 2 * SECOND;
        state.keep(query(2), Arc::new(2), later, later + 100 * SECOND);
        let later = later + 101 * SECOND;
        let next = |depth, now| state.next(&query(depth), now, now + MAX_WAIT);
        assert_eq!(next(1, later), Next::Give(Arc::new(1)));
        assert_eq!(next(2, later), Next::Give(Arc::new(2)));
        assert!(matches!(next(3, later), Next::Refuse(_)));
        assert!(matches!(next(1, now + MAX_AGE), Next::Refuse(_)));
    }

    #[tokio::test]
    async fn who_gives_up_leaves_the_place_to_nobody_and_the_answer_to_all() {
        let paced = Arc::new(Paced::new(600 * SECOND));
        let (release, released) = mpsc::channel::<()>();
        let (begun, has_begun) = oneshot::channel();
        let first = tokio::spawn({
            let paced = paced.clone();
            async move {
                let compute = move || {
                    let _ = begun.send(());
                    released.recv().map_or("never", |()| "first")
                };
                paced.get(&query(1), compute).await
            }
        });
        has_begun.await.unwrap();
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        // It is computed still, so that nobody else computes.
        assert!(paced.state.try_lock().is_err());
        release.send(()).unwrap();
        let again = paced.get(&query(1), || "again").await;
        assert_eq!(again, Ok(Arc::new("first")));
    }

    #[tokio::test]
    async fn one_at_a_time_computes_for_all_that_ask() {
        let paced = Arc::new(Paced::new(600 * SECOND));
        let (computed, running) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut asking = JoinSet::new();
        for question in 0..200 {
            let (paced, computed, running) = (paced.clone(), computed.clone(), running.clone());
            asking.spawn(async move {
                let compute = move || {
                    assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0);
                    computed.fetch_add(1, Ordering::SeqCst);
                    std::thread::yield_now();
                    running.fetch_sub(1, Ordering::SeqCst);
                };
                paced.get(&query(1 + question % 4), compute).await
            });
        }
        while let Some(ended) = asking.join_next().await {
            ended.unwrap().unwrap();
        }
        assert_eq!(computed.load(Ordering::SeqCst), 4);
    }
}
