//! One connection, with TLS or without.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tower::Service;

use super::tls::Tls;

/// A connection, TLS included, is made within this time, or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The same for the address at which clouds tell machines about themselves: it is near, or not there at all.
const METADATA_TIMEOUT: Duration = Duration::from_secs(1);
const METADATA_HOSTS: [&str; 3] = [
    "169.254.169.254",
    "169.254.170.2",
    "metadata.google.internal",
];

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("not within {0} s")]
    TimedOut(u64),
    #[error(transparent)]
    Socket(#[from] io::Error),
    #[error("{0}")]
    Tls(String),
}

trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

pub struct Link(TokioIo<Box<dyn ByteStream>>);

#[derive(Debug, Clone)]
pub struct Connector {
    tls: Tls,
}

impl Connector {
    pub fn new(tls: Tls) -> Self {
        Self { tls }
    }
}

impl Service<Uri> for Connector {
    type Response = Link;
    type Error = LinkError;
    type Future = Pin<Box<dyn Future<Output = Result<Link, LinkError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let tls = self.tls.clone();
        Box::pin(async move {
            let host = to.host().unwrap_or_default();
            let patience = match METADATA_HOSTS.contains(&host) {
                true => METADATA_TIMEOUT,
                false => CONNECT_TIMEOUT,
            };
            let connected = timeout(patience, connect(&to, &tls)).await;
            connected.map_err(|_| LinkError::TimedOut(patience.as_secs()))?
        })
    }
}

async fn connect(to: &Uri, tls: &Tls) -> Result<Link, LinkError> {
    let is_tls = to.scheme_str() == Some("https");
    let port = to.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    // An address of IPv6 stands in brackets in a URL.
    let host = to.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let stream: Box<dyn ByteStream> = match is_tls {
        true => Box::new(tls.connect(host, stream).await?),
        false => Box::new(stream),
    };
    Ok(Link(TokioIo::new(stream)))
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Write for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
