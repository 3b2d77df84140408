//! The response body of a watch: takes framed responses from the stream's queue.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};
use tonic::Status;
use tonic::codegen::http::HeaderMap;

use super::close_status;
use crate::watch::{CloseReason, Outbound, Popped};

pub struct WatchBody {
    outbound: Arc<Outbound>,
    /// The error of the request that closed the stream, if one did.
    failure: Arc<OnceLock<Status>>,
    is_ended: bool,
}

impl WatchBody {
    pub fn new(outbound: Arc<Outbound>, failure: Arc<OnceLock<Status>>) -> Self {
        Self {
            outbound,
            failure,
            is_ended: false,
        }
    }

    fn trailers(&self, reason: CloseReason) -> Result<HeaderMap, Status> {
        let status = match (reason, self.failure.get()) {
            (CloseReason::Client, Some(failure)) => failure.clone(),
            _ => close_status(reason),
        };
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers)?;
        Ok(trailers)
    }
}

impl Body for WatchBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.is_ended {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(match ready!(self.outbound.poll_pop(context)) {
            Popped::Responses(framed) => Ok(Frame::data(framed)),
            Popped::Closed(reason) => {
                self.is_ended = true;
                self.trailers(reason).map(Frame::trailers)
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.is_ended
    }
}

impl Drop for WatchBody {
    fn drop(&mut self) {
        // The client is gone, or the connection: nobody will pop.
        self.outbound.close(CloseReason::Client);
    }
}
