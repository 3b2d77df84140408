//! The links that the engine asks for.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::time::timeout;

use bytes::BytesMut;

use super::relay::relay;
use super::route::{ByteStream, PeerStream};
use crate::client::{Endpoint, Resolve, Stream};
use crate::node::Dial;

/// A dial ends within this time, before the engine's connector gives it up.
const DIAL_TIMEOUT: Duration = Duration::from_secs(4);

/// Gives the engine its links to other nodes, which are reached as `resolve` says. Sockets are made on `runtime`,
/// which also pumps the bytes of TLS links; the returned function blocks its caller, which must not be a thread of
/// `runtime`.
pub fn dialer(runtime: Handle, resolve: Resolve) -> Dial {
    Arc::new(move |address| {
        let (done, result) = mpsc::sync_channel(1);
        let (address, endpoint) = (address.to_owned(), resolve(address));
        runtime.spawn(async move {
            let dialled = timeout(DIAL_TIMEOUT, dial(&endpoint, address)).await;
            // The receiver is gone only if it panicked.
            let _ = done.send(dialled.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())));
        });
        result
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the runtime has stopped")))
    })
}

/// A link of this process with the service beside dqlite on another node's port. The caller sets the
/// deadline.
pub async fn connect_peer(endpoint: &Endpoint) -> io::Result<PeerStream> {
    let stream = Box::new(endpoint.connect().await?);
    Ok(PeerStream::new(BytesMut::new(), stream))
}

/// The socket itself in clear. With TLS one end of a socket pair, of which a task passes the other end on until
/// either side closes.
async fn dial(endpoint: &Endpoint, address: String) -> io::Result<OwnedFd> {
    match endpoint.connect().await? {
        Stream::Tcp(stream) => Ok(stream.into_std()?.into()),
        stream => pump(stream, address),
    }
}

fn pump(mut stream: impl ByteStream + 'static, address: String) -> io::Result<OwnedFd> {
    let (mut ours, theirs) = UnixStream::pair()?;
    tokio::spawn(async move {
        if let Err(error) = relay(&mut ours, &mut stream).await {
            tracing::debug!(%address, %error, "the connection to a node ended");
        }
    });
    Ok(theirs.into_std()?.into())
}
