//! Places for the connections of a listener: one rule for all listeners.
//!
//! | Module | Owns |
//! |---|---|
//! | `bytes` | what incomplete requests hold: per connection, per address, in all |
//! | `files` | the limit of open files, and what share of it a listener has |
//! | `place` | the place of one connection, and its calls |
//!
//! A connection is a *stranger* until it has shown what it came for: a member its certificate, a client of the API its
//! first request. Everybody can be a stranger, so there are few places for them, and nobody waits for one: the oldest
//! stranger goes, of the address that has the most of them. A client that is slow on purpose loses its place that way, and an
//! honest one needs it for milliseconds. Whoever is *known* has a place among the known. When those are
//! short, the connection goes that has been without a call for the longest time, and one with a call never does.
//!
//! Invariants: places are never more than the limits, but for connections that were told to close and have not yet, of
//! which there are few as well: [`Places::poll_room`] waits for them. The end of a place is told to its connection, which
//! does the closing.
#![forbid(unsafe_code)]

mod bytes;
mod files;
mod place;

use std::{
    collections::{BTreeMap, HashMap},
    future::poll_fn,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

pub use bytes::{ByteLimits, Incomplete, IncompleteRequest};
pub use files::{Share, raise_open_files};
use place::Seat;
pub use place::{Call, Calls, Place};

/// Connections that were told to close, and still are to be closed, before no further ones are taken.
const MAX_CLOSING: usize = 32;

/// The most connections at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub strangers: usize,
    pub known: usize,
}

/// The places of one listener, or of several that share them.
#[derive(Debug, Clone)]
pub struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// By the order in which they came.
    strangers: BTreeMap<u64, Arc<Seat>>,
    known: HashMap<u64, Arc<Seat>>,
    /// The number of connections that were told to close.
    closing: usize,
    /// The listener that waits for those.
    waiting: Option<Waker>,
}

/// The part of an address that one client has for itself. An IPv6 client has a network of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Origin {
    Ip(IpAddr),
    Network(u64),
    /// A socket of this machine.
    Local,
}

impl From<Option<IpAddr>> for Origin {
    fn from(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V6(address)) => Origin::Network((address.to_bits() >> 64) as u64),
            Some(address) => Origin::Ip(address),
            None => Origin::Local,
        }
    }
}

impl Places {
    pub fn new(limits: Limits) -> Self {
        let state = Mutex::default();
        Self(Arc::new(Shared { limits, state }))
    }

    /// Takes a place for a stranger from this address; none is a socket of this machine. If there is no place left, the oldest
    /// stranger goes.
    pub fn enter(&self, address: Option<IpAddr>) -> Place {
        let mut state = self.0.lock();
        let number = state.next;
        state.next += 1;
        let seat = Arc::new(Seat::new(number, address.into()));
        state.strangers.insert(number, seat.clone());
        if state.strangers.len() > self.0.limits.strangers
            && let Some(oldest) = oldest_stranger(&state.strangers)
        {
            state.close(oldest);
        }
        drop(state);
        Place::new(self.0.clone(), seat)
    }

    /// Ready while few connections have been told to close and are not closed. One task may wait for it.
    pub fn poll_room(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.closing < MAX_CLOSING {
            return Poll::Ready(());
        }
        state.waiting = Some(context.waker().clone());
        Poll::Pending
    }

    /// Waits as [`Self::poll_room`] does.
    pub async fn room(&self) {
        poll_fn(|context| self.poll_room(context)).await;
    }
}

/// Returns the oldest stranger of the address with the most strangers.
fn oldest_stranger(strangers: &BTreeMap<u64, Arc<Seat>>) -> Option<u64> {
    let mut counts: HashMap<Origin, usize> = HashMap::new();
    for seat in strangers.values() {
        *counts.entry(seat.origin).or_default() += 1;
    }
    let most = counts.values().copied().max()?;
    let mut oldest_first = strangers.values();
    let oldest = oldest_first.find(|seat| counts[&seat.origin] == most)?;
    Some(oldest.number)
}

impl State {
    fn close(&mut self, number: u64) {
        let seat = self.strangers.remove(&number);
        if let Some(seat) = seat.or_else(|| self.known.remove(&number)) {
            self.closing += 1;
            seat.close();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a stranger known. The connection that has been idle for the longest time makes room; if none is idle, the
    /// one that came closes.
    fn is_known(&self, seat: &Arc<Seat>) {
        let mut state = self.lock();
        if !state.strangers.contains_key(&seat.number) {
            return;
        }
        if state.known.len() >= self.limits.known {
            let idle = state.known.values().filter(|seat| seat.is_idle());
            let longest = idle.min_by_key(|seat| seat.idle_since()).map(|s| s.number);
            state.close(longest.unwrap_or(seat.number));
        }
        if state.strangers.remove(&seat.number).is_some() {
            state.known.insert(seat.number, seat.clone());
        }
    }

    fn leave(&self, seat: &Seat) {
        let mut state = self.lock();
        let is_closing = state.strangers.remove(&seat.number).is_none()
            && state.known.remove(&seat.number).is_none();
        if is_closing {
            state.closing -= 1;
            if let Some(waiting) = state.waiting.take() {
                waiting.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests;
