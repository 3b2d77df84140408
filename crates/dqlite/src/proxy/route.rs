//! Tells by the first bytes of a connection which protocol it speaks, and passes it to the handler
//! of that protocol.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use places::{Call, Place};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::TRAFFIC;
use crate::wire::{PROTOCOL_VERSION, PROTOCOL_VERSION_LEGACY};

/// Enough to tell the protocols apart, and the shortest of their openings.
const OPENING_BYTES: usize = 8;

/// The first bytes of every HTTP/2 connection.
const HTTP2_OPENING: &[u8; OPENING_BYTES] = b"PRI * HT";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Dqlite,
    Http2,
}

/// Serves the HTTP/2 connections of other nodes on the dqlite port. They are authenticated like any
/// other connection there.
pub trait PeerHandler: Send + Sync + 'static {
    /// Serves one connection to its end. Dropped when the proxy stops.
    fn handle(&self, stream: PeerStream) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

pub(super) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// A connection of a peer, from its first byte.
pub struct PeerStream {
    received: BytesMut,
    stream: Box<dyn ByteStream>,
    /// The place of an accepted one, and what keeps that from being idle: a handler may pass the connection on.
    place: Option<(Arc<Place>, Call)>,
}

impl PeerStream {
    pub(super) fn new(received: BytesMut, stream: Box<dyn ByteStream>) -> Self {
        TRAFFIC.received(received.len());
        PeerStream {
            received,
            stream,
            place: None,
        }
    }

    /// Keeps the place as long as the connection.
    pub(super) fn keeping(mut self, place: Arc<Place>, known: Call) -> Self {
        self.place = Some((place, known));
        self
    }
}

/// Reads the opening of a connection. `received` holds what was read, also when this fails.
pub(super) async fn read_opening(
    stream: &mut (impl AsyncRead + Unpin),
    received: &mut BytesMut,
) -> io::Result<Route> {
    while received.len() < OPENING_BYTES {
        if stream.read_buf(received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    route(received).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "speaks neither dqlite nor HTTP/2",
        )
    })
}

fn route(received: &[u8]) -> Option<Route> {
    let opening: &[u8; OPENING_BYTES] = received.first_chunk()?;
    match u64::from_le_bytes(*opening) {
        PROTOCOL_VERSION | PROTOCOL_VERSION_LEGACY => Some(Route::Dqlite),
        _ => (opening == HTTP2_OPENING).then_some(Route::Http2),
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some((place, _)) = &self.place
            && place.poll_closed(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if self.received.is_empty() {
            let before = buf.filled().len();
            let read = Pin::new(&mut *self.stream).poll_read(cx, buf);
            TRAFFIC.received(buf.filled().len() - before);
            return read;
        }
        let bytes = self.received.len().min(buf.remaining());
        buf.put_slice(&self.received[..bytes]);
        self.received.advance(bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(bytes)) = &written {
            TRAFFIC.sent(*bytes);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(cx)
    }
}
