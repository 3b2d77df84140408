//! Copying bytes between two streams until one of them ends.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::TRAFFIC;
use super::client::{Answers, pass_requests};
use super::engine::LocalEngine;
use super::replies::Replies;

/// Buffer of one direction, in bytes: one TLS record.
const BUFFER_BYTES: usize = 16 * 1024;

/// Relays between the engine and another node. Ends as soon as either side has ended, because both ends of a
/// dqlite connection close it as a whole.
pub(super) async fn relay<E, N>(engine: &mut E, node: &mut N) -> io::Result<()>
where
    E: AsyncRead + AsyncWrite + Unpin,
    N: AsyncRead + AsyncWrite + Unpin,
{
    let (engine_reader, engine_writer) = tokio::io::split(engine);
    let (node_reader, node_writer) = tokio::io::split(node);
    tokio::select! {
        ended = copy(engine_reader, node_writer, |bytes| TRAFFIC.sent(bytes)) => ended,
        ended = copy(node_reader, engine_writer, |bytes| TRAFFIC.received(bytes)) => ended,
    }
}

/// The longest time that the engine may go on with a request whose client has left.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// Relays between a client, whose requests are checked, and the engine `local`, to which `engine` is the
/// connection. `received` is what has been read from the client already.
///
/// A client that leaves in the middle of a result does not take the engine's connection with it: the
/// engine would keep the write lock of the database for ever where the statement writes. What is left of
/// the result is read in the client's place, and then the engine sees the end.
pub(super) async fn relay_inspected<C, E>(
    client: &mut C,
    received: BytesMut,
    engine: &mut E,
    local: &LocalEngine,
) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
    E: AsyncRead + AsyncWrite + Unpin,
{
    let (client_reader, client_writer) = tokio::io::split(client);
    let client_writer = Mutex::new(client_writer);
    let (mut engine_reader, mut engine_writer) = tokio::io::split(engine);
    let answers = Answers::new(&client_writer, local);
    let ended = tokio::select! {
        ended = pass_requests(client_reader, received, &mut engine_writer, &answers) => ended,
        ended = copy_replies(&mut engine_reader, &client_writer, &answers) => ended,
    };
    // Whatever comes of it, the connection is over.
    let _ = timeout(DRAIN_TIMEOUT, drain(engine_reader, engine_writer)).await;
    ended
}

async fn copy_replies<W: AsyncWrite + Unpin>(
    mut reader: impl AsyncRead + Unpin,
    writer: &Mutex<W>,
    answers: &Answers<'_, W>,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut replies = Replies::default();
    loop {
        match reader.read(&mut buffer).await? {
            0 => return Ok(()),
            bytes => {
                TRAFFIC.sent(bytes);
                let ended = replies.pass(&buffer[..bytes]);
                writer.lock().await.write_all(&buffer[..bytes]).await?;
                answers.came(ended);
            }
        }
    }
}

async fn drain(
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    writer.shutdown().await?;
    tokio::io::copy(&mut reader, &mut tokio::io::sink())
        .await
        .map(drop)
}

async fn copy(
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    count: impl Fn(usize),
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match reader.read(&mut buffer).await? {
            0 => return Ok(()),
            bytes => {
                count(bytes);
                writer.write_all(&buffer[..bytes]).await?;
            }
        }
    }
}
