//! The bytes of requests that are not complete: they are held before anybody knows who sends them.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use super::{Calls, Origin};

/// The most bytes of incomplete requests.
#[derive(Debug, Clone, Copy)]
pub struct ByteLimits {
    pub connection: usize,
    pub address: usize,
    pub all: usize,
}

/// The incomplete requests of a process. Where they get too many bytes, the one goes that has had none for the longest
/// time, of those that share the limit.
#[derive(Debug)]
pub struct Incomplete {
    limits: ByteLimits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// Grows with each change, for the order in which bytes came.
    moment: u64,
    requests: HashMap<u64, Held>,
    connections: HashMap<u64, usize>,
    addresses: HashMap<Origin, usize>,
    all: usize,
}

#[derive(Debug)]
struct Held {
    bytes: usize,
    at: u64,
    connection: u64,
    address: Origin,
    waiting: Option<Waker>,
}

/// An incomplete request, until it is complete or given up.
#[derive(Debug)]
pub struct IncompleteRequest {
    all: Arc<Incomplete>,
    number: u64,
}

impl Incomplete {
    pub fn new(limits: ByteLimits) -> Arc<Self> {
        let state = Mutex::default();
        Arc::new(Self { limits, state })
    }

    /// Counts what a request on this connection holds.
    pub fn begin(self: &Arc<Self>, on: &Calls) -> IncompleteRequest {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        let held = Held {
            bytes: 0,
            at: state.moment,
            connection: on.connection(),
            address: on.origin(),
            waiting: None,
        };
        state.requests.insert(number, held);
        drop(state);
        let all = self.clone();
        IncompleteRequest { all, number }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, number: u64, bytes: usize) {
        self.moment += 1;
        if let Some(held) = self.requests.get_mut(&number) {
            held.bytes += bytes;
            held.at = self.moment;
            *self.connections.entry(held.connection).or_default() += bytes;
            *self.addresses.entry(held.address).or_default() += bytes;
            self.all += bytes;
        }
    }

    fn remove(&mut self, number: u64) -> Option<Waker> {
        let held = self.requests.remove(&number)?;
        lower(&mut self.connections, held.connection, held.bytes);
        lower(&mut self.addresses, held.address, held.bytes);
        self.all -= held.bytes;
        held.waiting
    }

    /// Returns the request that has to go for the sake of the limits that this one shares.
    fn too_many(&self, number: u64, limits: ByteLimits) -> Option<u64> {
        let own = self.requests.get(&number)?;
        let of = |held: &Held| match () {
            () if self.connections[&own.connection] > limits.connection => {
                held.connection == own.connection
            }
            () if self.addresses[&own.address] > limits.address => held.address == own.address,
            () => self.all > limits.all,
        };
        let sharing = self.requests.iter().filter(|(_, held)| of(held));
        let oldest = sharing.min_by_key(|(_, held)| held.at)?;
        Some(*oldest.0)
    }
}

fn lower<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: K, bytes: usize) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= bytes;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

impl IncompleteRequest {
    /// Counts further bytes. What they make too many is refused.
    pub fn add(&self, bytes: usize) {
        let mut state = self.all.lock();
        if bytes == 0 {
            return;
        }
        state.add(self.number, bytes);
        while let Some(number) = state.too_many(self.number, self.all.limits) {
            if let Some(waiting) = state.remove(number) {
                waiting.wake();
            }
        }
    }

    /// Ready if the request has to be refused. One task may wait for it.
    pub fn poll_refused(&self, context: &mut Context<'_>) -> Poll<()> {
        match self.all.lock().requests.get_mut(&self.number) {
            Some(held) => {
                held.waiting = Some(context.waker().clone());
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }
}

impl Drop for IncompleteRequest {
    fn drop(&mut self) {
        self.all.lock().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, Places};

    fn is_refused(request: &IncompleteRequest) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        request.poll_refused(&mut context).is_ready()
    }

    #[test]
    fn the_request_without_bytes_for_the_longest_time_is_refused() {
        let all = Incomplete::new(ByteLimits {
            connection: 10,
            address: 15,
            all: 20,
        });
        let places = Places::new(Limits {
            strangers: 9,
            known: 9,
        });
        let place = |last| places.enter(Some([10, 0, 0, last].into()));
        let [one, beside, other, third] = [place(1), place(1), place(2), place(3)];
        let begin = |place: &crate::Place, bytes| {
            let request = all.begin(&place.calls());
            request.add(bytes);
            request
        };
        let first = begin(&one, 5);
        let second = begin(&one, 5);
        first.add(0);
        assert!(!is_refused(&first) && !is_refused(&second));
        let of_connection = begin(&one, 5);
        assert!(is_refused(&first) && !is_refused(&second) && !is_refused(&of_connection));
        second.add(1);
        assert!(is_refused(&of_connection) && !is_refused(&second));
        let of_address = begin(&beside, 10);
        assert!(is_refused(&second) && !is_refused(&of_address));
        let of_all = begin(&other, 10);
        assert!(!is_refused(&of_address) && !is_refused(&of_all));
        let more = begin(&third, 1);
        assert!(is_refused(&of_address) && !is_refused(&of_all) && !is_refused(&more));
        // One that is too large goes itself.
        let alone = begin(&third, 11);
        assert!(is_refused(&alone) && is_refused(&more));
        drop((
            first,
            second,
            of_connection,
            of_address,
            of_all,
            more,
            alone,
        ));
        let state = all.lock();
        assert_eq!(state.all, 0);
        assert!(state.connections.is_empty() && state.addresses.is_empty());
        assert!(state.requests.is_empty());
    }
}
