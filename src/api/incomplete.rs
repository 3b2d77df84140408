//! The bodies of requests, of which incomplete ones hold a limited number of bytes.
//!
//! The sender of a request is known once it is complete. Until then its bytes are in memory, and HTTP/2 lets a client have any
//! number of requests under way. A request that goes for the sake of the limit fails with etcd's
//! `too many requests`, which clients repeat. A gRPC message that is larger than the largest, as its head says, is refused
//! before the rest of it has come, as by etcd.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::BoxError;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use places::{ByteLimits, Incomplete, IncompleteRequest};

use super::{
    Peer,
    status::{too_large_to_receive, too_many_requests},
};

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

/// The content of a request.
#[derive(Debug, Clone, Copy)]
pub enum Content {
    /// Messages of gRPC, none of which has more bytes.
    Messages { max_bytes: usize },
    /// All of it is one message.
    Whole,
}

/// A body, of which is counted what is not complete yet.
pub struct CountedRequest<B> {
    body: B,
    content: Content,
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
    pub fn new(body: B, on: Option<(Peer, Arc<Incomplete>)>, content: Content) -> Self {
        let part = match content {
            Content::Messages { .. } => NEXT_MESSAGE,
            Content::Whole => Part::Whole,
        };
        let held = None;
        Self {
            body,
            content,
            on,
            part,
            held,
        }
    }

    /// Returns the length of a message that is too large, if one begins in `data`.
    fn count(&mut self, data: &[u8]) -> Result<(), TooLarge> {
        let max_bytes = match self.content {
            Content::Messages { max_bytes } => max_bytes,
            Content::Whole => usize::MAX,
        };
        let incomplete = self.part.take(data, max_bytes)?;
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
        Ok(())
    }
}

/// The length of a message that is not taken.
#[derive(Debug, PartialEq, Eq)]
struct TooLarge {
    bytes: usize,
    max_bytes: usize,
}

impl Part {
    /// Returns how many of these bytes are of a message that does not end with them.
    fn take(&mut self, data: &[u8], max_bytes: usize) -> Result<usize, TooLarge> {
        let mut rest = data;
        // Where the last message begins.
        let mut begins = rest.len();
        while !rest.is_empty() {
            match self {
                Part::Whole => return Ok(data.len()),
                Part::Head { head, read } => {
                    let taken = rest.len().min(HEAD_BYTES - *read);
                    head[*read..*read + taken].copy_from_slice(&rest[..taken]);
                    *read += taken;
                    begins = rest.len();
                    rest = &rest[taken..];
                    if *read == HEAD_BYTES {
                        let [_, length @ ..] = *head;
                        let left = u32::from_be_bytes(length) as usize;
                        if left > max_bytes {
                            let bytes = left;
                            return Err(TooLarge { bytes, max_bytes });
                        }
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
        Ok(match self {
            Part::Head { read: 0, .. } => 0,
            _ => begins,
        })
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
                if let Some(data) = frame.data_ref()
                    && let Err(TooLarge { bytes, max_bytes }) = self.count(data)
                {
                    self.held = None;
                    let refused = too_large_to_receive(bytes, max_bytes);
                    return Poll::Ready(Some(Err(refused.into())));
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
        let take = |part: &mut Part, data: &[u8]| part.take(data, 10).unwrap();
        let mut part = NEXT_MESSAGE;
        assert_eq!(take(&mut part, &message(3)), 0);
        // Two, of which one has three bytes of ten.
        assert_eq!(take(&mut part, &[message(3), message(10)].concat()), 8);
        assert_eq!(take(&mut part, &[7; 6]), 6);
        assert_eq!(take(&mut part, &[7]), 0);
        assert_eq!(take(&mut part, &message(3)[..2]), 2);
        assert_eq!(take(&mut part, &message(3)[2..]), 0);
        assert_eq!(take(&mut part, &[0; 10]), 0, "two without content");
        assert_eq!(take(&mut Part::Whole, &[0; 20]), 20);
    }

    #[test]
    fn a_message_that_is_too_large_is_known_by_its_head() {
        let head = [0, 0, 0, 0, 11];
        let too_large = Err(TooLarge {
            bytes: 11,
            max_bytes: 10,
        });
        assert_eq!({ NEXT_MESSAGE }.take(&head, 10), too_large);
        assert_eq!({ NEXT_MESSAGE }.take(&head, 11), Ok(5));
        // Behind another one, and in two pieces.
        let mut part = NEXT_MESSAGE;
        assert_eq!(part.take(&[&[0; 5][..], &head[..4]].concat(), 10), Ok(4));
        assert_eq!(part.take(&head[4..], 10), too_large);
    }
}
