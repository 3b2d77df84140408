//! Ends the streams when the server stops, so that it does not wait for clients.

use std::pin::Pin;

use tokio::sync::watch;
use tokio_stream::{Stream, StreamExt, wrappers::WatchStream};
use tonic::Status;

/// Turns true when the server stops.
#[derive(Debug, Clone)]
pub struct Stopping(watch::Receiver<bool>);

impl Stopping {
    pub fn new() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Waits until the server stops.
    pub async fn wait(mut self) {
        // An error means that the sender is gone, which is the same.
        let _ = self.0.wait_for(|is_stopping| *is_stopping).await;
    }

    /// `stream`, until the server stops: then clients are told to go elsewhere.
    pub fn end<T, S>(&self, stream: S) -> Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>
    where
        T: Send + 'static,
        S: Stream<Item = Result<T, Status>> + Send + 'static,
    {
        let stops = WatchStream::new(self.0.clone()).filter(|is_stopping| *is_stopping);
        let stops = stops.map(|_| Some(Err(Status::unavailable("etcdserver: server stopped"))));
        // `None` marks the end of the stream, for which the other half must not be waited.
        let items = stream.map(Some).chain(tokio_stream::once(None));
        let mut is_over = false;
        let both = items.merge(stops).map_while(move |item| {
            if is_over {
                return None;
            }
            is_over = matches!(item, Some(Err(_)));
            item
        });
        Box::pin(both)
    }
}
