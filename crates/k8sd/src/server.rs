//! Listeners and their connections.
//!
//! Invariants: connections, heads and bodies are bounded in number, size and time; the certificate of a client
//! is proven by the handshake, and checked by the handler of the request.

use std::{
    convert::Infallible, fs, io, os::unix::fs::PermissionsExt, path::Path, pin::Pin, sync::Arc,
    time::Duration,
};

use axum::Router;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use openssl::{
    pkey::PKey,
    ssl::{Ssl, SslContext, SslMethod, SslOptions, SslSessionCacheMode, SslVerifyMode, SslVersion},
    x509::X509,
};
use places::{Limits, Places, Share};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_openssl::SslStream;
use tower::Service;

use crate::{
    Error,
    certificate::{PemPair, parse},
};

/// The handshake, and the head of each request.
const OPENING_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections of the control socket.
const MAX_CONNECTIONS: usize = 512;

/// Strangers: handshakes of all members at once, and some that join. The known: two Raft links and some clients for each of
/// some dozen members. A connection takes three files: its own, and both ends of that to the engine.
const SHARE: Share = Share {
    percent: 80,
    files_each: 3,
    most: Limits {
        strangers: 256,
        known: 512,
    },
};

/// Bytes of a head.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Pause after a failed accept: out of descriptors, it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A daemon that was killed has let go of its locks and sockets within this time.
const KILLED_TIMEOUT: Duration = Duration::from_secs(3);
const KILLED_PAUSE: Duration = Duration::from_millis(50);

const SOCKET_MODE: u32 = 0o660;

/// The sender of a request.
#[derive(Clone)]
pub enum Caller {
    /// Whoever may open the control socket.
    Socket,
    /// A client from the network, with the certificate whose key it holds.
    Network(Option<X509>),
}

/// Tells when a request's connection is over, its answer sent.
#[derive(Clone)]
pub struct ConnectionEnd(watch::Receiver<()>);

impl ConnectionEnd {
    pub async fn wait(mut self, timeout: Duration) {
        // Nothing is ever sent.
        let _ =
            tokio::time::timeout(timeout, async { while self.0.changed().await.is_ok() {} }).await;
    }
}

/// Locks the directory for this process, or learns that another one serves it.
pub async fn lock(dir: &Path) -> Result<Flock<fs::File>, Error> {
    let deadline = Instant::now() + KILLED_TIMEOUT;
    let mut file = fs::File::open(dir).map_err(Error::file(dir))?;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => return Ok(locked),
            Err((file, Errno::EWOULDBLOCK)) if Instant::now() < deadline => file,
            Err((_, Errno::EWOULDBLOCK)) => {
                return Err(Error::Held(format!(
                    "a daemon of {dir:?} is already running"
                )));
            }
            Err((_, errno)) => return Err(Error::file(dir)(errno.into())),
        };
        sleep(KILLED_PAUSE).await;
    }
}

/// Takes the control socket, or that of a daemon that was killed.
pub async fn bind_socket(path: &Path, group: Option<&str>) -> Result<UnixListener, Error> {
    let deadline = Instant::now() + KILLED_TIMEOUT;
    while UnixStream::connect(path).await.is_ok() {
        if Instant::now() > deadline {
            return Err(Error::Held(format!(
                "Unix socket at {path:?} is already running"
            )));
        }
        sleep(KILLED_PAUSE).await;
    }
    crate::state::remove_file(path)?;
    let listener = UnixListener::bind(path).map_err(Error::file(path))?;
    if let Some(group) = group {
        let found = nix::unistd::Group::from_name(group).ok().flatten();
        let found = found.ok_or_else(|| Error::Invalid(format!("there is no group {group}")))?;
        nix::unistd::chown(path, None, Some(found.gid))
            .map_err(|errno| Error::file(path)(errno.into()))?;
    }
    let mode = fs::Permissions::from_mode(SOCKET_MODE);
    fs::set_permissions(path, mode).map_err(Error::file(path))?;
    Ok(listener)
}

pub async fn serve_socket(listener: UnixListener, router: Router) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            continue;
        };
        let router = router.clone();
        connections.spawn(async move {
            let _slot = slot;
            serve(stream, Caller::Socket, router).await;
        });
    }
}

pub fn tls(pair: &PemPair) -> Result<SslContext, Error> {
    let mut context = SslContext::builder(SslMethod::tls_server())?;
    context.set_min_proto_version(Some(SslVersion::TLS1_3))?;
    context.set_options(SslOptions::NO_RENEGOTIATION | SslOptions::NO_TICKET);
    // A resumed session would skip the certificates.
    context.set_session_cache_mode(SslSessionCacheMode::OFF);
    context.set_certificate(&*parse(&pair.certificate)?)?;
    context.set_private_key(&*PKey::private_key_from_pem(pair.key.as_bytes())?)?;
    context.set_verify_callback(SslVerifyMode::PEER, |_, _| true);
    Ok(context.build())
}

/// `is_member`: whether a certificate is that of a member, whose connections have places of their own.
pub async fn serve_network(
    listener: TcpListener,
    tls: SslContext,
    router: Router,
    is_member: impl Fn(&X509) -> bool + Clone + Send + Sync + 'static,
) {
    let places = Places::new(SHARE.limits());
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        places.room().await;
        let Ok((stream, peer)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let place = places.enter(Some(peer.ip()));
        let (tls, router, is_member) = (tls.clone(), router.clone(), is_member.clone());
        connections.spawn(async move {
            let serving = async {
                let Ok(Ok(stream)) = timeout(OPENING_TIMEOUT, shake_hands(stream, &tls)).await
                else {
                    tracing::debug!(%peer, "no TLS handshake with a client");
                    return;
                };
                let shown = stream.ssl().peer_certificate();
                let is_member = shown.as_ref().is_some_and(&is_member);
                // A member is never idle; anybody else stays a stranger.
                let _known = is_member.then(|| place.begin());
                serve(stream, Caller::Network(shown), router).await;
            };
            tokio::select! {
                () = serving => {}
                () = place.closed() => tracing::debug!(%peer, "others need its place"),
            }
        });
    }
}

async fn shake_hands(stream: TcpStream, tls: &SslContext) -> io::Result<SslStream<TcpStream>> {
    stream.set_nodelay(true)?;
    let mut stream = SslStream::new(Ssl::new(tls)?, stream)?;
    let shaken = Pin::new(&mut stream).accept().await;
    shaken.map_err(io::Error::other)?;
    Ok(stream)
}

async fn serve<S>(stream: S, caller: Caller, router: Router)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (_open, end) = watch::channel(());
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(caller.clone());
        request.extensions_mut().insert(ConnectionEnd(end.clone()));
        let mut router = router.clone();
        async move {
            let answer = router.call(request.map(axum::body::Body::new)).await;
            Ok::<_, Infallible>(answer.unwrap_or_else(|never| match never {}))
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(OPENING_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .title_case_headers(true)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended");
    }
}
