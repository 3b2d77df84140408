//! The messages of a gRPC response, one by one, and how it ended.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use http_body::Body;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::{Code, Status, codegen::http::Response};

use super::{deadline, transcode::FRAME_HEAD_BYTES};
use crate::api::counted::CountedBody;

pub struct Replies {
    body: CountedBody,
    buffer: BytesMut,
    /// The status of the call, once it has ended.
    end: Option<Status>,
    /// Ready when the deadline of the client has passed.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Replies {
    pub fn new(response: Response<CountedBody>, deadline: Option<Instant>) -> Self {
        // A call that failed at once has no body, but its end in the head.
        let end = Status::from_header_map(response.headers());
        Self {
            body: response.into_body(),
            buffer: BytesMut::new(),
            end,
            deadline: deadline.map(|deadline| Box::pin(sleep_until(deadline))),
        }
    }

    /// The next message without its head; after the last one none, or why there is no more.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Status>> {
        loop {
            if let Some(message) = self.take_message() {
                return Poll::Ready(Ok(Some(message)));
            }
            if let Some(end) = &self.end {
                return Poll::Ready(match end.code() {
                    Code::Ok => Ok(None),
                    _ => Err(end.clone()),
                });
            }
            if let Some(deadline) = &mut self.deadline
                && deadline.as_mut().poll(context).is_ready()
            {
                self.end = Some(deadline::exceeded());
                continue;
            }
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.buffer.extend_from_slice(&data),
                    Err(frame) => self.end = frame.trailers_ref().and_then(Status::from_header_map),
                },
                Some(Err(error)) => self.end = Some(Status::internal(error.to_string())),
                None => self.end = Some(Status::internal("the call ended without a status")),
            }
        }
    }

    fn take_message(&mut self) -> Option<Bytes> {
        let mut head = self.buffer.get(..FRAME_HEAD_BYTES)?;
        // Nothing is compressed: the request did not say that it may be.
        let _is_compressed = head.get_u8();
        let size_bytes = head.get_u32() as usize;
        if self.buffer.len() < FRAME_HEAD_BYTES + size_bytes {
            return None;
        }
        self.buffer.advance(FRAME_HEAD_BYTES);
        Some(self.buffer.split_to(size_bytes).freeze())
    }
}
