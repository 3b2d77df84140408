//! The place of one connection.

use std::{
    future::poll_fn,
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Instant,
};

use super::{Origin, Shared};

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Taken by one connection, and given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    shared: Arc<Shared>,
    seat: Arc<Seat>,
}

/// Begins the calls of a connection. It outlives the connection, if need be.
#[derive(Debug, Clone)]
pub struct Calls {
    shared: Arc<Shared>,
    seat: Arc<Seat>,
}

/// A call that is under way: its connection is not idle until this is dropped.
#[derive(Debug)]
pub struct Call(Arc<Seat>);

#[derive(Debug)]
pub(super) struct Seat {
    /// Among those of its listener.
    pub number: u64,
    /// Among all.
    id: u64,
    pub origin: Origin,
    is_known: AtomicBool,
    calls: AtomicUsize,
    /// The end of the last call, in microseconds since the first one of this process.
    idle_since: AtomicU64,
    is_closed: AtomicBool,
    /// The task of the connection.
    waiting: Mutex<Option<Waker>>,
}

impl Place {
    pub(super) fn new(shared: Arc<Shared>, seat: Arc<Seat>) -> Self {
        Self { shared, seat }
    }

    pub fn calls(&self) -> Calls {
        Calls {
            shared: self.shared.clone(),
            seat: self.seat.clone(),
        }
    }

    /// Makes the connection known, as one that is never idle until what is returned is dropped.
    pub fn begin(&self) -> Call {
        self.calls().begin()
    }

    /// Ready once the connection has to be closed. One task may wait for it.
    pub fn poll_closed(&self, context: &mut Context<'_>) -> Poll<()> {
        if !self.seat.is_closed() {
            let mut waiting = self.seat.lock();
            match &mut *waiting {
                Some(known) => known.clone_from(context.waker()),
                None => *waiting = Some(context.waker().clone()),
            }
        }
        // Again, because it may have been closed before the waker was there.
        match self.seat.is_closed() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Waits as [`Self::poll_closed`] does.
    pub async fn closed(&self) {
        poll_fn(|context| self.poll_closed(context)).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.leave(&self.seat);
    }
}

/// The number of the next place of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

impl Calls {
    pub(super) fn connection(&self) -> u64 {
        self.seat.id
    }

    pub(super) fn origin(&self) -> Origin {
        self.seat.origin
    }

    /// Begins a call. The first one makes the connection known.
    pub fn begin(&self) -> Call {
        self.seat.calls.fetch_add(1, Ordering::SeqCst);
        if !self.seat.is_known.swap(true, Ordering::SeqCst) {
            self.shared.is_known(&self.seat);
        }
        Call(self.seat.clone())
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let now_us = STARTED.elapsed().as_micros() as u64;
        self.0.idle_since.store(now_us, Ordering::SeqCst);
        self.0.calls.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Seat {
    pub fn new(number: u64, origin: Origin) -> Self {
        Self {
            number,
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            origin,
            is_known: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
            idle_since: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
            waiting: Mutex::default(),
        }
    }

    pub fn is_idle(&self) -> bool {
        self.calls.load(Ordering::SeqCst) == 0
    }

    pub fn idle_since(&self) -> (u64, u64) {
        (self.idle_since.load(Ordering::SeqCst), self.number)
    }

    pub fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        if let Some(waiting) = self.lock().take() {
            waiting.wake();
        }
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        // Nothing under the lock can panic half way.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
