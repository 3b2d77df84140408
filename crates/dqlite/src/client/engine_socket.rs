//! The socket to the engine of this process, which wakes its task only for what comes in.
//!
//! A unix socket becomes writable each time that its peer has read from it. Tokio's own type asks for that from the
//! beginning, so that each request would wake a thread for nothing just when the engine begins to work on it.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf, unix::AsyncFd},
    net,
};

#[derive(Debug)]
pub(crate) struct EngineSocket {
    readable: AsyncFd<UnixStream>,
    /// The same socket, while a write waits for room.
    writable: Option<AsyncFd<UnixStream>>,
}

impl EngineSocket {
    pub fn new(connected: net::UnixStream) -> io::Result<Self> {
        let readable = register(connected.into_std()?, Interest::READABLE)?;
        Ok(Self {
            readable,
            writable: None,
        })
    }
}

fn register(socket: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    // SAFETY: a socket of the standard library keeps its descriptor open, and the same, as long as it lives.
    unsafe { AsyncFd::register_with_interest(socket, interest) }.map_err(Into::into)
}

impl AsyncRead for EngineSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.readable.poll_read_ready(cx))?;
            let room = buf.initialize_unfilled();
            let expected = room.len();
            match ready.try_io(|socket| socket.get_ref().read(room)) {
                Ok(Ok(count)) => {
                    if 0 < count && count < expected {
                        // There was no more: spares the call that would say so.
                        ready.clear_ready();
                    }
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for EngineSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            let written = match &this.writable {
                None => this.readable.get_ref().write(buf),
                Some(writable) => {
                    match ready!(writable.poll_write_ready(cx))?
                        .try_io(|socket| socket.get_ref().write(buf))
                    {
                        Ok(written) => written,
                        Err(_would_block) => continue,
                    }
                }
            };
            match written {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let socket = this.readable.get_ref().try_clone()?;
                    this.writable = Some(register(socket, Interest::WRITABLE)?);
                }
                written => {
                    this.writable = None;
                    return Poll::Ready(written);
                }
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.readable.get_ref().shutdown(std::net::Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixStream, thread};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Far more than the buffers of a socket hold.
    const BYTES: usize = 8 * 1024 * 1024;

    #[tokio::test]
    async fn much_goes_out_and_comes_in() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let ours = net::UnixStream::from_std(ours).unwrap();
        let mut socket = EngineSocket::new(ours).unwrap();
        let echo = thread::spawn(move || {
            let mut bytes = vec![0; BYTES];
            for _ in 0..2 {
                theirs.read_exact(&mut bytes).unwrap();
                theirs.write_all(&bytes).unwrap();
            }
        });
        let sent: Vec<u8> = (0..BYTES).map(|at| (at / 7) as u8).collect();
        let mut received = vec![0; BYTES];
        for _ in 0..2 {
            socket.write_all(&sent).await.unwrap();
            socket.read_exact(&mut received).await.unwrap();
            assert!(received == sent);
            received.fill(0);
        }
        echo.join().unwrap();
        assert_eq!(socket.read(&mut received).await.unwrap(), 0);
        assert!(socket.write_all(&sent).await.is_err());
    }
}
