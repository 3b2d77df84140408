//! Requests out, replies in, on one stream: where a connection is kept in step.

use std::io;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::endpoint::Stream;
use super::{Error, Loss};
use crate::wire::{
    Failure, Header, MAX_MESSAGE_BYTES, PROTOCOL_VERSION, Reply, Request, Row, RowsPart, WireError,
};

/// The first read buffer, and the least room for a read, in bytes: several parts of a result.
const READ_BYTES: usize = 16 * 1024;

/// Room is made for at most this much of an announced message before its bytes arrive, so that a
/// header alone costs little memory.
const READ_AHEAD_BYTES: usize = 1024 * 1024;

/// A buffer that grew beyond this is given back after the message.
const KEEP_BYTES: usize = 4 * 1024 * 1024;

/// The effect of a request on the database: the loss of the reply to a write leaves its state in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Reads,
    Writes,
}

#[derive(Debug)]
pub(super) struct Exchange {
    stream: Stream,
    out: BytesMut,
    inbox: BytesMut,
    /// Replies that are due. Counted before the first byte goes out and after the last one came in,
    /// so a future that is dropped in between leaves it above zero for ever.
    due: usize,
    /// Requests in `out`.
    queued: usize,
    pub(super) request_timeout: Duration,
    pub(super) max_reply_bytes: usize,
}

impl Exchange {
    pub(super) fn new(stream: Stream, request_timeout: Duration) -> Self {
        let mut out = BytesMut::with_capacity(READ_BYTES);
        // Goes out with the first request, in one write.
        out.put_u64_le(PROTOCOL_VERSION);
        let inbox = BytesMut::with_capacity(READ_BYTES);
        Exchange {
            stream,
            out,
            inbox,
            due: 0,
            queued: 0,
            request_timeout,
            max_reply_bytes: MAX_MESSAGE_BYTES,
        }
    }

    /// One request and its one reply.
    pub(super) async fn call(
        &mut self,
        request: &Request<'_>,
        effect: Effect,
    ) -> Result<Reply, Error> {
        self.check_idle()?;
        self.queue(request)?;
        let limit = self.request_timeout;
        match timeout(limit, self.send_and_receive(effect)).await {
            Ok(reply) => reply,
            Err(_) if self.out.has_remaining() => {
                Err(Error::Unreachable(io::ErrorKind::TimedOut.into()))
            }
            Err(_) => Err(lost(Loss::TimedOut(limit), effect)),
        }
    }

    async fn send_and_receive(&mut self, effect: Effect) -> Result<Reply, Error> {
        self.flush().await?;
        self.receive(effect).await
    }

    /// Fails if a reply is still due.
    pub(super) fn check_idle(&self) -> Result<(), Error> {
        if self.due > 0 || self.queued > 0 {
            Err(Error::Poisoned)
        } else {
            Ok(())
        }
    }

    /// The number of replies that are due.
    pub(super) fn due(&self) -> usize {
        self.due
    }

    /// Encodes a request into the write buffer.
    pub(super) fn queue(&mut self, request: &Request<'_>) -> Result<(), Error> {
        request
            .encode(&mut self.out)
            .map_err(Error::from_encoding)?;
        self.queued += 1;
        Ok(())
    }

    /// Writes everything queued. A request whose last byte was not written cannot be executed, so a
    /// failure here, with one request queued, means that nothing happened. May be dropped and called
    /// again.
    pub(super) async fn flush(&mut self) -> Result<(), Error> {
        self.due += std::mem::take(&mut self.queued);
        let large = self.out.len() > KEEP_BYTES;
        while self.out.has_remaining() {
            match self.stream.write_buf(&mut self.out).await {
                Ok(0) => return Err(Error::Unreachable(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) => return Err(Error::Unreachable(error)),
            }
        }
        self.stream.flush().await.map_err(Error::Unreachable)?;
        if large {
            self.out = BytesMut::with_capacity(READ_BYTES);
        }
        Ok(())
    }

    /// Like [`flush`](Self::flush), for several requests: takes in the replies of the first ones
    /// meanwhile, because the server does not read on before its reply is taken.
    pub(super) async fn flush_many(&mut self) -> Result<(), Error> {
        self.due += std::mem::take(&mut self.queued);
        let (mut reader, mut writer) = tokio::io::split(&mut self.stream);
        loop {
            self.inbox.reserve(READ_BYTES);
            tokio::select! {
                biased;
                written = writer.write_all_buf(&mut self.out) => {
                    return written.map_err(Error::Unreachable);
                }
                read = reader.read_buf(&mut self.inbox), if self.inbox.len() < KEEP_BYTES => {
                    if read.map_err(Error::Unreachable)? == 0 {
                        return Err(Error::Unreachable(io::ErrorKind::UnexpectedEof.into()));
                    }
                }
            }
        }
    }

    /// Reads the next reply. A result set that goes on keeps its reply due.
    pub(super) async fn receive(&mut self, effect: Effect) -> Result<Reply, Error> {
        let (header, body) = self.receive_frame(effect).await?;
        let reply = self.checked(Reply::decode(&header, &body))?;
        self.due -= usize::from(!matches!(&reply, Reply::Rows(part) if part.more));
        match reply {
            Reply::Failure(failure) => Err(failed(failure, effect)),
            reply => Ok(reply),
        }
    }

    /// Reads the next part of a result set of `width` columns: its rows, and whether more follow.
    /// May be dropped and called again.
    pub(super) async fn receive_rows(
        &mut self,
        width: usize,
        effect: Effect,
    ) -> Result<(Vec<Row>, bool), Error> {
        let (header, body) = self.receive_frame(effect).await?;
        if header.kind != RowsPart::KIND {
            let reply = self.checked(Reply::decode(&header, &body))?;
            let Reply::Failure(failure) = reply else {
                return Err(self.unexpected(&reply));
            };
            self.due -= 1;
            return Err(failed(failure, effect));
        }
        let (rows, more) = self.checked(RowsPart::decode_next(&body, width))?;
        self.due -= usize::from(!more);
        Ok((rows, more))
    }

    /// Gives the connection up: what the peer sends makes no sense.
    pub(super) fn unexpected(&mut self, reply: &Reply) -> Error {
        self.due += 1;
        let code = reply.kind().into();
        Error::Protocol(WireError::Unknown {
            what: "reply to this request",
            code,
        })
    }

    fn checked<T>(&mut self, decoded: Result<T, WireError>) -> Result<T, Error> {
        decoded.map_err(|error| {
            self.due += 1;
            Error::Protocol(error)
        })
    }

    /// Takes the next message out of the inbox, as a whole or not at all, so that it may be dropped
    /// and called again.
    async fn receive_frame(&mut self, effect: Effect) -> Result<(Header, Bytes), Error> {
        self.fill(Header::BYTES, effect).await?;
        let header = self.checked(Header::decode_up_to(&self.inbox, self.max_reply_bytes))?;
        self.fill(Header::BYTES + header.body_bytes(), effect)
            .await?;
        self.inbox.advance(Header::BYTES);
        let body = self.inbox.split_to(header.body_bytes()).freeze();
        if body.len() > KEEP_BYTES {
            self.inbox = BytesMut::from(&self.inbox[..]);
        }
        Ok((header, body))
    }

    /// Reads until the inbox holds `len` bytes.
    async fn fill(&mut self, len: usize, effect: Effect) -> Result<(), Error> {
        while self.inbox.len() < len {
            let missing = len - self.inbox.len();
            self.inbox
                .reserve(missing.clamp(READ_BYTES, READ_AHEAD_BYTES));
            match self.stream.read_buf(&mut self.inbox).await {
                Ok(0) => return Err(lost(Loss::Closed, effect)),
                Ok(_) => {}
                Err(error) => return Err(lost(Loss::Io(error), effect)),
            }
        }
        Ok(())
    }
}

pub(super) fn lost(loss: Loss, effect: Effect) -> Error {
    match effect {
        Effect::Reads => Error::Disconnected(loss),
        Effect::Writes => Error::OutcomeUnknown(loss),
    }
}

fn failed(failure: Failure, effect: Effect) -> Error {
    match (Error::from_failure(failure), effect) {
        // Nothing was at stake: the request can be sent to the next leader.
        (Error::OutcomeUnknown(_), Effect::Reads) => Error::NotLeader,
        (error, _) => error,
    }
}
