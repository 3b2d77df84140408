//! The responses that a stream still has to send.
//!
//! Any task that has something for the client pushes it here; the connection pops. One lock, held
//! for a few instructions, and a push returns the waker of the connection instead of waking it, so
//! that a fan-out wakes each connection once, after it is done.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

/// Live events are refused above this. They are shared by all streams that get the same response,
/// so this much per stream is seldom this much memory, and reading the history again costs more
/// processor time than waiting here.
const LIVE_LIMIT_BYTES: usize = 4 * 1024 * 1024;

/// Live events are refused above this many responses: the bookkeeping is memory too.
const LIVE_LIMIT_RESPONSES: usize = 8192;

/// History is read again only below this: it is encoded for one watcher, so what waits is memory.
const CATCH_UP_LIMIT_BYTES: usize = 1024 * 1024;

/// No more requests are read while this many answers to earlier ones wait.
const CONTROL_LIMIT_RESPONSES: usize = 1024;

/// Small responses that wait together go to the connection as one piece of up to this size: every
/// piece costs a DATA frame and mostly a system call. Larger ones are passed on without a copy.
const JOINED_BYTES: usize = 32 * 1024;

/// An empty queue keeps room for this many responses.
const KEPT_CAPACITY_RESPONSES: usize = 64;

/// The reason why the server ends a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The client should go on elsewhere, or here after the restart.
    ServerStopped,
    /// Events were compacted before they were distributed. The client should resume.
    LostEvents,
    /// The client asked to be told when the cluster has no leader.
    NoLeader,
    /// The client broke the protocol, or is gone.
    Client,
}

/// The error of live events that did not fit.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

pub enum Popped {
    Responses(Bytes),
    Closed(CloseReason),
}

#[derive(Debug, Default)]
pub struct Outbound {
    queue: Mutex<Queue>,
    /// Tells the stream's task that there may be something to do: room to catch up, a watcher that
    /// fell behind, or the end.
    work: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    responses: VecDeque<Response>,
    bytes: usize,
    controls: usize,
    connection: Option<Waker>,
    is_room_awaited: bool,
    closed: Option<CloseReason>,
}

#[derive(Debug)]
struct Response {
    framed: Bytes,
    is_control: bool,
}

impl Outbound {
    /// Adds the answer to a request, or a progress response.
    #[must_use = "the connection sleeps until it is woken"]
    pub fn push_control(&self, framed: Bytes) -> Option<Waker> {
        let mut queue = self.lock();
        queue.push(framed, true)
    }

    /// Adds live events that belong together: all or none.
    pub fn push_live(&self, framed: &[Bytes]) -> Result<Option<Waker>, Full> {
        let mut queue = self.lock();
        if queue.bytes >= LIVE_LIMIT_BYTES || queue.responses.len() >= LIVE_LIMIT_RESPONSES {
            return Err(Full);
        }
        Ok(queue.push_all(framed))
    }

    /// Adds events from the history; the caller has asked `has_catch_up_room`.
    #[must_use = "the connection sleeps until it is woken"]
    pub fn push_catch_up(&self, framed: &[Bytes]) -> Option<Waker> {
        self.lock().push_all(framed)
    }

    /// Returns whether history may be added. If not, `work` comes when it may.
    pub fn has_catch_up_room(&self) -> bool {
        let mut queue = self.lock();
        let has_room = queue.has_catch_up_room();
        queue.is_room_awaited |= !has_room;
        has_room
    }

    /// Returns whether the next request may be read. If not, `work` comes when it may.
    pub fn has_request_room(&self) -> bool {
        let mut queue = self.lock();
        let has_room = queue.controls < CONTROL_LIMIT_RESPONSES;
        queue.is_room_awaited |= !has_room;
        has_room
    }

    /// Returns whether nothing waits to be sent.
    pub fn is_empty(&self) -> bool {
        self.lock().responses.is_empty()
    }

    /// Takes what can be sent next.
    pub fn poll_pop(&self, context: &mut Context<'_>) -> Poll<Popped> {
        let mut queue = self.lock();
        if let Some(reason) = queue.closed {
            return Poll::Ready(Popped::Closed(reason));
        }
        let Some(piece) = queue.pop() else {
            queue.connection = Some(context.waker().clone());
            return Poll::Pending;
        };
        let is_task_waiting = queue.is_room_awaited && queue.has_catch_up_room();
        if is_task_waiting {
            queue.is_room_awaited = false;
        }
        drop(queue);
        if is_task_waiting {
            self.work.notify_one();
        }
        Poll::Ready(Popped::Responses(piece))
    }

    /// Ends the stream at once; what still waits is dropped. The first reason stays.
    pub fn close(&self, reason: CloseReason) {
        let mut queue = self.lock();
        queue.closed.get_or_insert(reason);
        let dropped = std::mem::take(&mut queue.responses);
        let connection = queue.connection.take();
        drop(queue);
        drop(dropped);
        self.work.notify_one();
        if let Some(waker) = connection {
            waker.wake();
        }
    }

    pub fn is_closed(&self) -> bool {
        self.lock().closed.is_some()
    }

    /// Tells the stream's task to look for work.
    pub fn notify_task(&self) {
        self.work.notify_one();
    }

    /// Resolves when there may be work for the stream's task. Cancel safe.
    pub async fn work(&self) {
        self.work.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing under the lock can panic half way.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn push(&mut self, framed: Bytes, is_control: bool) -> Option<Waker> {
        if self.closed.is_some() {
            return None;
        }
        self.bytes += framed.len();
        self.controls += usize::from(is_control);
        self.responses.push_back(Response { framed, is_control });
        self.connection.take()
    }

    fn push_all(&mut self, framed: &[Bytes]) -> Option<Waker> {
        let wakers = framed
            .iter()
            .map(|response| self.push(response.clone(), false));
        wakers.fold(None, Option::or)
    }

    fn pop_one(&mut self) -> Option<Bytes> {
        let Response { framed, is_control } = self.responses.pop_front()?;
        self.bytes -= framed.len();
        self.controls -= usize::from(is_control);
        Some(framed)
    }

    fn pop(&mut self) -> Option<Bytes> {
        let first = self.pop_one()?;
        let mut len = first.len();
        let mut fits = |response: &Response| {
            len += response.framed.len();
            len <= JOINED_BYTES
        };
        let count = self
            .responses
            .iter()
            .map_while(|response| fits(response).then_some(()))
            .count();
        let piece = if count == 0 {
            first
        } else {
            self.join(first, count)
        };
        if self.responses.is_empty() {
            self.responses.shrink_to(KEPT_CAPACITY_RESPONSES);
        }
        Some(piece)
    }

    fn join(&mut self, first: Bytes, count: usize) -> Bytes {
        let more: usize = self
            .responses
            .iter()
            .take(count)
            .map(|next| next.framed.len())
            .sum();
        let mut joined = BytesMut::with_capacity(first.len() + more);
        joined.extend_from_slice(&first);
        for _ in 0..count {
            if let Some(next) = self.pop_one() {
                joined.extend_from_slice(&next);
            }
        }
        joined.freeze()
    }

    fn has_catch_up_room(&self) -> bool {
        self.bytes < CATCH_UP_LIMIT_BYTES && self.controls < CONTROL_LIMIT_RESPONSES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct CountingWaker(AtomicUsize);

    impl Wake for CountingWaker {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn pop(outbound: &Outbound) -> Option<Bytes> {
        match outbound.poll_pop(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Popped::Responses(piece)) => Some(piece),
            _ => None,
        }
    }

    fn frame(len: usize) -> Bytes {
        vec![7; len].into()
    }

    #[test]
    fn responses_leave_in_order_and_small_ones_together() {
        let outbound = Outbound::default();
        let big = frame(JOINED_BYTES);
        drop(outbound.push_control(Bytes::from_static(b"a")));
        let waker = outbound.push_live(&["b".into(), "c".into(), big.clone()]);
        assert!(waker.unwrap().is_none());
        drop(outbound.push_control(Bytes::from_static(b"d")));
        assert_eq!(pop(&outbound).unwrap(), "abc");
        let large = pop(&outbound).unwrap();
        assert_eq!(
            large.as_ptr(),
            big.as_ptr(),
            "a large response is not copied"
        );
        assert_eq!(pop(&outbound).unwrap(), "d");
        assert!(pop(&outbound).is_none());
    }

    #[test]
    fn one_batch_wakes_a_waiting_connection_once() {
        let outbound = Outbound::default();
        let counting = Arc::new(CountingWaker::default());
        let waker = Waker::from(Arc::clone(&counting));
        assert!(
            outbound
                .poll_pop(&mut Context::from_waker(&waker))
                .is_pending()
        );
        let wakers: Vec<Waker> = (0..3)
            .filter_map(|_| outbound.push_live(&[frame(9)]).unwrap())
            .collect();
        assert_eq!(wakers.len(), 1);
        wakers.into_iter().for_each(Waker::wake);
        assert_eq!(counting.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn live_events_are_refused_when_full_and_answers_are_not() {
        let outbound = Outbound::default();
        while outbound.push_live(&[frame(64 * 1024)]).is_ok() {}
        assert_eq!(outbound.push_live(&[frame(1)]).unwrap_err(), Full);
        assert!(!outbound.has_catch_up_room());
        drop(outbound.push_control(Bytes::from_static(b"answer")));
        let mut last = None;
        while let Some(piece) = pop(&outbound) {
            last = Some(piece);
        }
        assert_eq!(last.unwrap(), "answer");
        assert!(outbound.has_catch_up_room());
        assert!(outbound.push_live(&[frame(1)]).is_ok());
    }

    #[tokio::test]
    async fn a_task_that_waits_for_room_is_told() {
        let outbound = Outbound::default();
        drop(outbound.push_catch_up(&[frame(CATCH_UP_LIMIT_BYTES)]));
        assert!(!outbound.has_catch_up_room());
        assert!(pop(&outbound).is_some());
        outbound.work().await;
        assert!(outbound.has_catch_up_room());
    }

    #[test]
    fn closing_drops_what_waits_and_keeps_the_first_reason() {
        let outbound = Outbound::default();
        drop(outbound.push_control(frame(5)));
        outbound.close(CloseReason::ServerStopped);
        outbound.close(CloseReason::Client);
        assert!(outbound.push_control(frame(5)).is_none());
        let popped = outbound.poll_pop(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(
            popped,
            Poll::Ready(Popped::Closed(CloseReason::ServerStopped))
        ));
    }
}
