//! The bodies of requests, of which incomplete ones hold a limited number of bytes.
//!
//! The sender of a request is known once it is complete. Until then its bytes are in memory, and HTTP/2 lets a client have any
//! number of requests under way. A request that goes for the sake of the limit fails with etcd's
//! `too many requests`, which clients repeat.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::BoxError;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use places::{ByteLimits, Incomplete, IncompleteRequest};

use super::{Peer, status::too_many_requests};

const MIB: usize = 1024 * 1024;

/// Of the largest requests, on one connection. Text of the JSON gateway takes twice the bytes.
const LARGEST_AT_A_TIME: usize = 4;

/// Returns the incomplete requests of a server that takes messages of up to so many bytes. The limits are far above what
/// clients have under way: with usual settings 40 of the largest requests on one connection.
pub fn incomplete(max_message_bytes: usize) -> Arc<Incomplete> {
    let connection = (64 * MIB).max(LARGEST_AT_A_TIME * max_message_bytes);
    Incomplete::new(ByteLimits {
        connection,
        address: 2 * connection,
        all: 4 * connection,
    })
}

/// The bytes of a gRPC message's head: whether it is compressed, and its length.
const HEAD_BYTES: usize = 5;

/// A body, of which is counted what is not complete yet.
pub struct CountedRequest<B> {
    body: B,
    /// None where nobody is limited: within the process.
    on: Option<(Peer, Arc<Incomplete>)>,
    part: Part,
    /// Set while a message is incomplete after a frame.
    held: Option<IncompleteRequest>,
}

/// The part of a message that has come.
enum Part {
    /// Not of gRPC: all of it is one message.
    Whole,
    Head {
        head: [u8; HEAD_BYTES],
        read: usize,
    },
    Message {
        left: usize,
    },
}

const NEXT_MESSAGE: Part = Part::Head {
    head: [0; HEAD_BYTES],
    read: 0,
};

impl<B> CountedRequest<B> {
    pub fn new(body: B, on: Option<(Peer, Arc<Incomplete>)>, is_grpc: bool) -> Self {
        let part = match is_grpc {
            true => NEXT_MESSAGE,
            false => Part::Whole,
        };
        let held = None;
        Self {
            body,
            on,
            part,
            held,
        }
    }

    fn count(&mut self, data: &[u8]) {
        let incomplete = self.part.take(data);
        let is_new = incomplete < data.len();
        if incomplete == 0 || is_new {
            self.held = None;
        }
        if incomplete > 0
            && let Some((peer, all)) = &self.on
        {
            let begin = || all.begin(peer.calls());
            self.held.get_or_insert_with(begin).add(incomplete);
        }
    }
}

impl Part {
    /// Returns how many of these bytes are of a message that does not end with them.
    fn take(&mut self, data: &[u8]) -> usize {
        let mut rest = data;
        // Where the last message begins.
        let mut begins = rest.len();
        while !rest.is_empty() {
            match self {
                Part::Whole => return data.len(),
                Part::Head { head, read } => {
                    let taken = rest.len().min(HEAD_BYTES - *read);
                    head[*read..*read + taken].copy_from_slice(&rest[..taken]);
                    *read += taken;
                    begins = rest.len();
                    rest = &rest[taken..];
                    if *read == HEAD_BYTES {
                        let [_, length @ ..] = *head;
                        let left = u32::from_be_bytes(length) as usize;
                        *self = if left == 0 {
                            NEXT_MESSAGE
                        } else {
                            Part::Message { left }
                        };
                    }
                }
                Part::Message { left } => {
                    let taken = rest.len().min(*left);
                    *left -= taken;
                    rest = &rest[taken..];
                    if *left == 0 {
                        *self = NEXT_MESSAGE;
                    }
                }
            }
        }
        match self {
            Part::Head { read: 0, .. } => 0,
            _ => begins,
        }
    }
}

impl<B> Body for CountedRequest<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(held) = &self.held
            && held.poll_refused(context).is_ready()
        {
            return Poll::Ready(Some(Err(too_many_requests().into())));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.count(data);
                }
            }
            Some(Err(_)) | None => self.held = None,
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incomplete_are_the_bytes_of_the_last_message() {
        let message = |length: u32| [&[0][..], &length.to_be_bytes(), &[7; 3]].concat();
        let mut part = NEXT_MESSAGE;
        assert_eq!(part.take(&message(3)), 0);
        // Two, of which one has three bytes of ten.
        assert_eq!(part.take(&[message(3), message(10)].concat()), 8);
        assert_eq!(part.take(&[7; 6]), 6);
        assert_eq!(part.take(&[7]), 0);
        assert_eq!(part.take(&message(3)[..2]), 2);
        assert_eq!(part.take(&message(3)[2..]), 0);
        assert_eq!(part.take(&[0; 10]), 0, "two without content");
        assert_eq!(Part::Whole.take(&[0; 10]), 10);
    }
}
