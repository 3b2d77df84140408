//! A watch for this process itself: one range, one reader, no connection.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use etcd_proto::etcdserverpb::WatchResponse;
use etcd_state::mvcc::{KeyRange, Revision};
use prost::Message;

use super::{CatchUp, CloseReason, CreateRequest, Options, Popped, WatchHub, WatchStream};

/// gRPC's byte that says "not compressed".
const FLAG_BYTES: usize = 1;

/// The reason why a follower gets no more events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FollowError {
    /// Events were compacted: the current state must be read again.
    Lost,
    /// The server stops.
    Stopped,
}

/// Receives the events in a range. Its queue is bounded like that of a client's stream.
pub struct Follower {
    stream: WatchStream,
    /// Responses that were taken from the queue, framed.
    taken: Bytes,
}

impl Follower {
    /// Follows the events at and above `from`.
    pub fn new(
        hub: &Arc<WatchHub>,
        range: KeyRange,
        from: Revision,
        options: Options,
    ) -> Result<Self, FollowError> {
        let stream = hub.open(false).ok_or(FollowError::Stopped)?;
        stream.create(CreateRequest {
            watch_id: None,
            range,
            start_revision: from,
            options,
            progress_notify: false,
        });
        let taken = Bytes::new();
        Ok(Self { stream, taken })
    }

    /// The next response with events. Cancel safe.
    pub async fn next(&mut self) -> Result<WatchResponse, FollowError> {
        loop {
            match self.next_taken() {
                Some(response) if response.canceled => return Err(FollowError::Lost),
                Some(response) if response.events.is_empty() => {}
                Some(response) => return Ok(response),
                None => self.take_more().await?,
            }
        }
    }

    fn next_taken(&mut self) -> Option<WatchResponse> {
        if self.taken.is_empty() {
            return None;
        }
        self.taken.advance(FLAG_BYTES);
        let len = self.taken.get_u32() as usize;
        let message = self.taken.split_to(len);
        Some(WatchResponse::decode(message).expect("the hub encoded it"))
    }

    /// Does the work of a stream's task until something is in the queue.
    async fn take_more(&mut self) -> Result<(), FollowError> {
        let outbound = self.stream.outbound();
        loop {
            let is_behind = self.stream.catch_up() == CatchUp::Behind;
            tokio::select! {
                biased;
                popped = poll_fn(|context| outbound.poll_pop(context)) => {
                    return match popped {
                        Popped::Responses(framed) => {
                            self.taken = framed;
                            Ok(())
                        }
                        Popped::Closed(CloseReason::LostEvents) => Err(FollowError::Lost),
                        Popped::Closed(_) => Err(FollowError::Stopped),
                    };
                }
                () = tokio::task::yield_now(), if is_behind => {}
                () = outbound.work(), if !is_behind => {}
            }
        }
    }
}
