//! The introduction: the first message on a connection between two nodes.
//!
//! They have the form of dqlite's protocol, with a request that dqlite does not know: the version, then a header and
//! two words, the id of the history (0: not known) and 0. The answer has the same form, and in its second word 1 where
//! the connection is refused. After it the connection is like new. A node that does not know the request answers with
//! a failure, as dqlite does (src/gateway.c).

use std::io;

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::wire::{Header, PROTOCOL_VERSION};

/// The type of the request and of its answer. dqlite counts its own from 0.
const KIND: u8 = 0xc1;

const WORD_BYTES: usize = 8;
const BODY_BYTES: usize = 2 * WORD_BYTES;
const MESSAGE_BYTES: usize = Header::BYTES + BODY_BYTES;

/// The version and the header, by which an introduction is recognized.
const START_BYTES: usize = WORD_BYTES + Header::BYTES;

/// An answer that is none of ours is read up to this length: dqlite's words for it.
const OTHER_ANSWER_BYTES_MAX: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub id: Option<u64>,
    pub is_refused: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Introduced {
    NotUnderstood,
    Answered(Answer),
}

/// Returns whether an introduction comes next. Reads into `received` what is missing of the version and a header.
pub(crate) async fn is_introduction<S>(stream: &mut S, received: &mut BytesMut) -> io::Result<bool>
where
    S: AsyncRead + Unpin,
{
    if !fill(stream, received, START_BYTES).await? {
        return Ok(false);
    }
    Ok(received.starts_with(&PROTOCOL_VERSION.to_le_bytes()) && received[WORD_BYTES + 4] == KIND)
}

/// Reads until `received` has `bytes` bytes. Returns false if the stream ends before.
async fn fill<S>(stream: &mut S, received: &mut BytesMut, bytes: usize) -> io::Result<bool>
where
    S: AsyncRead + Unpin,
{
    while received.len() < bytes {
        if stream.read_buf(received).await? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Takes an introduction off `received`. Returns the id in it.
pub(super) async fn read<S>(stream: &mut S, received: &mut BytesMut) -> io::Result<Option<u64>>
where
    S: AsyncRead + Unpin,
{
    if !fill(stream, received, WORD_BYTES + MESSAGE_BYTES).await? {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    received.advance(WORD_BYTES);
    let header = Header::decode(received).map_err(invalid)?;
    if header.body_bytes() != BODY_BYTES {
        return Err(invalid("an introduction of another length"));
    }
    received.advance(Header::BYTES);
    let id = known(received.get_u64_le());
    received.advance(WORD_BYTES);
    Ok(id)
}

pub(super) async fn answer<S>(stream: &mut S, answer: Answer) -> io::Result<()>
where
    S: AsyncWrite + Unpin,
{
    let mut out = BytesMut::with_capacity(MESSAGE_BYTES);
    put(&mut out, answer.id, answer.is_refused.into());
    stream.write_all(&out).await?;
    stream.flush().await
}

pub(super) async fn introduce<S>(stream: &mut S, own: Option<u64>) -> io::Result<Introduced>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut out = BytesMut::with_capacity(WORD_BYTES + MESSAGE_BYTES);
    out.put_u64_le(PROTOCOL_VERSION);
    put(&mut out, own, 0);
    stream.write_all(&out).await?;
    stream.flush().await?;
    let mut header = [0; Header::BYTES];
    stream.read_exact(&mut header).await?;
    let header = Header::decode_up_to(&header, OTHER_ANSWER_BYTES_MAX).map_err(invalid)?;
    if header.kind != KIND {
        return Ok(Introduced::NotUnderstood);
    }
    if header.body_bytes() != BODY_BYTES {
        return Err(invalid("an introduction of another length"));
    }
    let id = known(stream.read_u64_le().await?);
    let is_refused = stream.read_u64_le().await? != 0;
    Ok(Introduced::Answered(Answer { id, is_refused }))
}

fn put(out: &mut BytesMut, id: Option<u64>, second: u64) {
    out.put_u32_le((BODY_BYTES / WORD_BYTES) as u32);
    out.put_u8(KIND);
    out.put_bytes(0, 3);
    out.put_u64_le(id.unwrap_or(0));
    out.put_u64_le(second);
}

fn known(id: u64) -> Option<u64> {
    (id != 0).then_some(id)
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
