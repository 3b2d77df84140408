//! A connection that collects small writes into one system call.
//!
//! HTTP/2 multiplexes, and h2 flushes every DATA frame of some hundred bytes by itself: events for
//! twelve watchers, or answers to twelve calls, are twelve system calls, which is most of what they
//! cost. Here the first flush is written at once, and opens a window in which further ones are
//! collected. The window ends when the runtime's thread has run everything else that was ready, so
//! nothing waits for a timer.
//!
//! Invariant: bytes that are collected are written at the end of the window, because the
//! connection's task is woken then, and its first act is to read, which writes.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// Collected bytes are written when they are this many.
const COLLECTED_LIMIT_BYTES: usize = 64 * 1024;

pub struct Corked<S> {
    stream: S,
    collected: BytesMut,
    window: Option<Arc<Window>>,
}

/// The time in which flushes are collected.
#[derive(Default)]
struct Window {
    is_over: AtomicBool,
    /// The connection's task, once something is collected.
    waiting: Mutex<Option<Waker>>,
}

impl<S> Corked<S> {
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            collected: BytesMut::new(),
            window: None,
        }
    }
}

impl<S: AsyncWrite + Unpin> Corked<S> {
    /// Returns whether a flush is left for the end of the window.
    fn is_collecting(&mut self) -> bool {
        if self.window.as_ref().is_some_and(|window| window.is_over()) {
            self.window = None;
        }
        self.window.is_some()
    }

    fn write_collected(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.collected.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.collected))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.collected.advance(written);
        }
        // A burst is no reason to keep its memory for the life of the connection.
        self.collected = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

impl Window {
    fn open() -> Arc<Self> {
        let window = Arc::new(Window::default());
        let waker = Waker::from(Arc::clone(&window));
        // The runtime wakes who yielded when the thread has run everything else.
        let yielded = pin!(tokio::task::yield_now());
        if yielded.poll(&mut Context::from_waker(&waker)).is_ready() {
            waker.wake();
        }
        window
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Asks for the task to be woken at the end; false if that has passed.
    fn wait(&self, waker: &Waker) -> bool {
        let mut waiting = self.lock();
        match &mut *waiting {
            Some(known) => known.clone_from(waker),
            None => *waiting = Some(waker.clone()),
        }
        !self.is_over()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Waker>> {
        // Nothing under the lock can panic half way.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Window {
    fn wake(self: Arc<Self>) {
        let mut waiting = self.lock();
        self.is_over.store(true, Ordering::Release);
        let waker = waiting.take();
        drop(waiting);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Corked<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.is_collecting()
            && let Poll::Ready(Err(error)) = self.write_collected(context)
        {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

/// Vectored writes are not offered: h2 then copies small frames together itself, and a copy costs
/// less than the bookkeeping of the pieces.
impl<S: AsyncWrite + Unpin> AsyncWrite for Corked<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.collected.len() + bytes.len() > COLLECTED_LIMIT_BYTES {
            ready!(self.write_collected(context))?;
            if bytes.len() > COLLECTED_LIMIT_BYTES {
                return Pin::new(&mut self.stream).poll_write(context, bytes);
            }
        }
        self.collected.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.collected.is_empty() {
            return Pin::new(&mut this.stream).poll_flush(context);
        }
        if this.is_collecting()
            && let Some(window) = &this.window
            && window.wait(context.waker())
        {
            return Poll::Ready(Ok(()));
        }
        ready!(this.write_collected(context))?;
        this.window = Some(Window::open());
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.write_collected(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: Connected> Connected for Corked<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

#[cfg(test)]
mod tests;
