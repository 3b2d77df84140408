//! The peer service on the dqlite port: takes the HTTP/2 connections that the proxy passes on.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use dqlite::proxy::{PeerHandler, PeerStream};
use peer_proto::peer_server::{Peer, PeerServer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{mpsc, oneshot},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Server, server::Connected};

use super::dial::{MAX_MESSAGE_BYTES, WINDOW_BYTES};

/// Connections that were accepted and not yet taken.
const MAX_ARRIVED: usize = 16;

/// The port to which the proxy hands connections, before the service is there to serve them.
pub struct PeerPort {
    arrived: mpsc::Sender<Arrived>,
}

struct Arrived {
    stream: PeerStream,
    /// Dropped when the connection has ended.
    _ended: oneshot::Sender<()>,
}

impl PeerPort {
    pub fn new() -> (Self, PeerConnections) {
        let (arrived, connections) = mpsc::channel(MAX_ARRIVED);
        (Self { arrived }, PeerConnections(connections))
    }
}

pub struct PeerConnections(mpsc::Receiver<Arrived>);

impl PeerHandler for PeerPort {
    fn handle(&self, stream: PeerStream) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let arrived = self.arrived.clone();
        Box::pin(async move {
            let (ended, has_ended) = oneshot::channel();
            let stream = Arrived {
                stream,
                _ended: ended,
            };
            if arrived.send(stream).await.is_ok() {
                let _ = has_ended.await;
            }
        })
    }
}

/// Serves until it is dropped.
pub async fn serve(
    service: impl Peer,
    connections: PeerConnections,
) -> Result<(), tonic::transport::Error> {
    use tokio_stream::StreamExt;
    let service = PeerServer::new(service)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let incoming = ReceiverStream::new(connections.0).map(Ok::<_, io::Error>);
    Server::builder()
        .initial_connection_window_size(WINDOW_BYTES)
        .initial_stream_window_size(WINDOW_BYTES)
        .add_service(service)
        .serve_with_incoming(incoming)
        .await
}

impl Connected for Arrived {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Arrived {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Arrived {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
