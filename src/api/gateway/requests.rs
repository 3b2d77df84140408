//! The request side of a stream: JSON values in, gRPC messages out.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame};

use super::{methods::Method, transcode, values::JsonValues};

/// A body of gRPC messages. As in etcd, what is malformed ends it: the call sees that no more
/// requests come, and goes on answering those that came.
pub struct Requests {
    pub method: Arc<Method>,
    /// Read already, because it decides whether there is a call at all.
    pub first: Option<Bytes>,
    pub rest: JsonValues,
    pub is_over: bool,
}

impl Body for Requests {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(framed) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(framed))));
        }
        if self.is_over {
            return Poll::Ready(None);
        }
        let next = ready!(self.rest.poll_next(context));
        let framed = match next {
            Ok(Some(json)) => transcode::read(&self.method.request, &json).ok(),
            Ok(None) | Err(_) => None,
        };
        self.is_over = framed.is_none();
        Poll::Ready(framed.map(|framed| Ok(Frame::data(framed))))
    }
}
