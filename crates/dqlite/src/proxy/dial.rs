//! The links that the engine asks for.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Handle;
use tokio::time::timeout;

use bytes::BytesMut;

use super::relay::relay;
use super::route::{ByteStream, PeerStream};
use crate::client::{Endpoint, Resolve};
use crate::node::Dial;
use crate::socket::{connect, host};
use crate::tls::Tls;

/// A dial ends within this time, before the engine's connector gives it up.
const DIAL_TIMEOUT: Duration = Duration::from_secs(4);

/// Gives the engine its links to other nodes. Sockets are made on `runtime`, which also pumps the bytes
/// of TLS links; the returned function blocks its caller, which must not be a thread of `runtime`.
pub fn dialer(runtime: Handle, tls: Option<Tls>) -> Dial {
    Arc::new(move |address| {
        let (done, result) = mpsc::sync_channel(1);
        let (address, tls) = (address.to_owned(), tls.clone());
        runtime.spawn(async move {
            let dialled = timeout(DIAL_TIMEOUT, dial(&address, tls)).await;
            // The receiver is gone only if it panicked.
            let _ = done.send(dialled.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())));
        });
        result
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the runtime has stopped")))
    })
}

/// The same for nodes that are reached in a way of their own, such as behind an HTTP server.
pub fn dialer_through(runtime: Handle, resolve: Resolve) -> Dial {
    Arc::new(move |address| {
        let (done, result) = mpsc::sync_channel(1);
        let (address, endpoint) = (address.to_owned(), resolve(address));
        runtime.spawn(async move {
            let dialled = timeout(DIAL_TIMEOUT, pumped_through(&endpoint, address)).await;
            // The receiver is gone only if it panicked.
            let _ = done.send(dialled.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())));
        });
        result
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the runtime has stopped")))
    })
}

async fn pumped_through(endpoint: &Endpoint, address: String) -> io::Result<OwnedFd> {
    pump(endpoint.connect().await?, address)
}

/// A link of this process with the service beside dqlite on another node's port. The caller sets the
/// deadline.
pub async fn connect_peer(address: &str, tls: Option<&Tls>) -> io::Result<PeerStream> {
    let stream = connect(address).await?;
    let stream: Box<dyn ByteStream> = match tls {
        None => Box::new(stream),
        Some(tls) => Box::new(tls.connect(host(address), stream).await?),
    };
    Ok(PeerStream::new(BytesMut::new(), stream))
}

async fn dial(address: &str, tls: Option<Tls>) -> io::Result<OwnedFd> {
    let stream = connect(address).await?;
    match tls {
        None => Ok(stream.into_std()?.into()),
        Some(tls) => pumped(stream, address, &tls).await,
    }
}

/// One end of a socket pair, of which a task passes the other end through TLS until either side closes.
async fn pumped(stream: TcpStream, address: &str, tls: &Tls) -> io::Result<OwnedFd> {
    pump(
        tls.connect(host(address), stream).await?,
        address.to_owned(),
    )
}

fn pump(mut stream: impl ByteStream + 'static, address: String) -> io::Result<OwnedFd> {
    let (mut ours, theirs) = UnixStream::pair()?;
    tokio::spawn(async move {
        if let Err(error) = relay(&mut ours, &mut stream).await {
            tracing::debug!(%address, %error, "link to a node has ended");
        }
    });
    Ok(theirs.into_std()?.into())
}
