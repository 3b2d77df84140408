//! Copying bytes between two streams until one of them ends.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Inspector;
use super::raft::MAX_MESSAGE_START_BYTES;

/// Buffer of one direction, in bytes: one TLS record.
const BUFFER_BYTES: usize = 16 * 1024;

/// Relays between two streams. Ends as soon as either side has ended, because both ends of a dqlite
/// connection close it as a whole.
pub(super) async fn relay<A, B>(a: &mut A, b: &mut B) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (a_reader, a_writer) = tokio::io::split(a);
    let (b_reader, b_writer) = tokio::io::split(b);
    tokio::select! {
        ended = copy(a_reader, b_writer) => ended,
        ended = copy(b_reader, a_writer) => ended,
    }
}

/// Relays between a client, whose bytes are inspected, and the engine. `received` is what has been
/// read from the client already.
pub(super) async fn relay_inspected<C, E>(
    client: &mut C,
    received: BytesMut,
    engine: &mut E,
) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
    E: AsyncRead + AsyncWrite + Unpin,
{
    let (client_reader, client_writer) = tokio::io::split(client);
    let (engine_reader, engine_writer) = tokio::io::split(engine);
    tokio::select! {
        ended = copy_inspected(client_reader, received, engine_writer) => ended,
        ended = copy(engine_reader, client_writer) => ended,
    }
}

async fn copy(
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match reader.read(&mut buffer).await? {
            0 => return Ok(()),
            bytes => writer.write_all(&buffer[..bytes]).await?,
        }
    }
}

async fn copy_inspected(
    mut reader: impl AsyncRead + Unpin,
    mut buffer: BytesMut,
    mut writer: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut inspector = Inspector::default();
    loop {
        let admitted = inspector
            .admit(&buffer)
            .map_err(|violation| io::Error::new(io::ErrorKind::InvalidData, violation))?;
        writer.write_all(&buffer[..admitted]).await?;
        buffer.advance(admitted);
        debug_assert!(buffer.len() < MAX_MESSAGE_START_BYTES);
        buffer.reserve(BUFFER_BYTES);
        if reader.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}
