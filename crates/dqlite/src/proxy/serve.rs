//! The listener and its connections.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use places::{Limits, Place, Places, Share};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::engine::LocalEngine;
use super::port::{BoundPort, PortError};
use super::relay::relay_inspected;
use super::route::{ByteStream, PeerHandler, PeerStream, Route, read_opening};
use crate::cluster_id::{ClusterId, is_introduction};
use crate::socket::tune;
use crate::tls::{Shown, Tls};

/// The timeout for the first eight bytes of an accepted connection, TLS handshake included.
const OPENING_TIMEOUT: Duration = Duration::from_secs(10);

/// Strangers have not sent these bytes yet. The others are two Raft links for each of some dozen nodes, and the clients
/// on them. A connection takes three files: its own, and both ends of that to the engine. The questions of all links take
/// two more.
const SHARE: Share = Share {
    percent: 40,
    files_each: 3,
    most: Limits {
        strangers: 256,
        known: 1024,
    },
};

/// The timeout for closing a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Pause after a failed accept: out of descriptors, it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The key pair and handlers of the proxy.
#[derive(Clone)]
pub struct ProxyOptions {
    pub engine: LocalEngine,
    /// `None`: everybody who reaches the port gets in.
    pub tls: Option<Tls>,
    /// `None`: HTTP/2 is refused.
    pub peers: Option<Arc<dyn PeerHandler>>,
    /// The history that this node belongs to. `None`: nodes are not asked for theirs.
    pub cluster_id: Option<ClusterId>,
}

/// The dqlite port of a node.
pub struct Proxy {
    listener: TcpListener,
    gate: Arc<Gate>,
}

/// The limits and checks that each connection has to pass, and where it goes then.
struct Gate {
    engine: LocalEngine,
    tls: Option<Tls>,
    peers: Option<Arc<dyn PeerHandler>>,
    cluster_id: Option<ClusterId>,
    opening_timeout: Duration,
    places: Places,
}

/// A connection that has said what it speaks: what it has shown, its bytes, those that were read already.
type Opened = (Option<Shown>, Box<dyn ByteStream>, BytesMut, Route);

impl Proxy {
    /// Listens on the port. Connections are served by [`run`](Self::run).
    pub fn listen(port: BoundPort, options: ProxyOptions) -> Result<Proxy, PortError> {
        let ProxyOptions {
            engine,
            tls,
            peers,
            cluster_id,
        } = options;
        let listener = port.listen()?;
        let gate = Arc::new(Gate {
            engine,
            tls,
            peers,
            cluster_id,
            opening_timeout: OPENING_TIMEOUT,
            places: Places::new(SHARE.limits()),
        });
        Ok(Proxy { listener, gate })
    }

    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` is ready, then ends all connections.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                accepted = self.accept() => match accepted {
                    Ok((stream, peer)) => self.take(stream, peer, &mut connections),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept connections to the dqlite port");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_ended) = connections.join_next() => {}
            }
        }
        drop(self.listener);
        connections.shutdown().await;
    }

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.gate.places.room().await;
        self.listener.accept().await
    }

    fn take(&self, stream: TcpStream, peer: SocketAddr, connections: &mut JoinSet<()>) {
        let gate = self.gate.clone();
        let place = Arc::new(gate.places.enter(Some(peer.ip())));
        connections.spawn(async move {
            let served = tokio::select! {
                served = gate.serve(stream, peer, &place) => served,
                () = place.closed() => Err(io::Error::other("others need its place")),
            };
            if let Err(error) = served {
                tracing::debug!(%peer, %error, "dqlite connection closed");
            }
        });
    }
}

impl Gate {
    async fn serve(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        place: &Arc<Place>,
    ) -> io::Result<()> {
        tune(&stream)?;
        let opened = timeout(self.opening_timeout, self.open(stream));
        let (shown, stream, received, route) = opened
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        let served = self.serve_opened(stream, received, route, peer, place);
        tokio::select! {
            served = served => served,
            () = distrusted(shown) => Err(io::Error::other("its certificate is trusted no more")),
        }
    }

    async fn serve_opened(
        &self,
        mut stream: Box<dyn ByteStream>,
        mut received: BytesMut,
        mut route: Route,
        peer: SocketAddr,
        place: &Arc<Place>,
    ) -> io::Result<()> {
        // From here on it is known, and never idle: with TLS it has shown the cluster's key.
        let known = place.begin();
        if let (Some(cluster), Route::Dqlite) = (&self.cluster_id, route) {
            let peer = peer.ip().to_string();
            if meet(&mut stream, &mut received, cluster, &peer).await? {
                route = self.reopened(&mut stream, &mut received).await?;
            }
        }
        match route {
            Route::Dqlite => self.serve_dqlite(stream, received).await,
            Route::Http2 => {
                let stream = PeerStream::new(received, stream).keeping(place.clone(), known);
                self.serve_peer(stream).await
            }
        }
    }

    async fn open(&self, stream: TcpStream) -> io::Result<Opened> {
        let (shown, mut stream): (_, Box<dyn ByteStream>) = match &self.tls {
            Some(tls) => {
                let stream = tls.accept(stream).await?;
                (tls.shown_by(&stream), Box::new(stream))
            }
            None => (None, Box::new(stream)),
        };
        let mut received = BytesMut::new();
        let route = read_opening(&mut stream, &mut received).await?;
        Ok((shown, stream, received, route))
    }

    /// Returns the protocol that a connection speaks after an introduction.
    async fn reopened(
        &self,
        stream: &mut Box<dyn ByteStream>,
        received: &mut BytesMut,
    ) -> io::Result<Route> {
        let opened = timeout(self.opening_timeout, read_opening(stream, received));
        let opened = opened.await;
        opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn serve_dqlite(
        &self,
        mut client: Box<dyn ByteStream>,
        received: BytesMut,
    ) -> io::Result<()> {
        let mut engine = self.engine.connect().await?;
        let ended = relay_inspected(&mut client, received, &mut engine, &self.engine).await;
        let _ = timeout(CLOSE_TIMEOUT, client.shutdown()).await;
        ended
    }

    async fn serve_peer(&self, stream: PeerStream) -> io::Result<()> {
        let Some(peers) = &self.peers else {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "HTTP/2 is not served here",
            ));
        };
        peers.handle(stream).await;
        Ok(())
    }
}

/// Ends when what was shown is trusted no more.
async fn distrusted(shown: Option<Shown>) {
    match shown {
        Some(shown) => shown.distrusted().await,
        None => std::future::pending().await,
    }
}

/// Answers introductions, which come before anything else. Returns whether there were any.
async fn meet<S>(
    stream: &mut S,
    received: &mut BytesMut,
    cluster: &ClusterId,
    peer: &str,
) -> io::Result<bool>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut have_met = false;
    while is_introduction(stream, received).await? {
        cluster.answer(stream, received, peer).await?;
        have_met = true;
    }
    Ok(have_met)
}

/// Serves a client that speaks dqlite and has been let in already, to its end, from this
/// engine, or another node of this history; `peer` is where it comes from. How many there are is the caller's to
/// limit.
pub async fn serve_engine<S>(
    mut client: S,
    local: &LocalEngine,
    cluster: &ClusterId,
    peer: &str,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let mut received = BytesMut::new();
    meet(&mut client, &mut received, cluster, peer).await?;
    let mut engine = local.connect().await?;
    let ended = relay_inspected(&mut client, received, &mut engine, local).await;
    let _ = timeout(CLOSE_TIMEOUT, client.shutdown()).await;
    ended
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::UnixListener;

    use super::*;
    use crate::client::Endpoint;
    use crate::node::StoredTerm;
    use crate::wire::{NodeId, PROTOCOL_VERSION};

    /// Never reached by a test that passes.
    const TIMEOUT: Duration = Duration::from_secs(20);

    /// A proxy with these limits in front of an engine that only listens.
    async fn start(
        opening_timeout: Duration,
        strangers: usize,
        known: usize,
    ) -> (SocketAddr, UnixListener, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engine");
        let engine = UnixListener::bind(&path).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let gate = Arc::new(Gate {
            engine: LocalEngine {
                endpoint: Endpoint::Unix(path),
                id: NodeId::new(1),
                term: Arc::new(StoredTerm::new(dir.path().to_owned())),
                questions: Arc::default(),
            },
            tls: None,
            peers: None,
            cluster_id: None,
            opening_timeout,
            places: Places::new(Limits { strangers, known }),
        });
        tokio::spawn(async move {
            Proxy { listener, gate }.run(std::future::pending()).await;
        });
        (address, engine, dir)
    }

    async fn ends(stream: &mut TcpStream) -> bool {
        let read = timeout(TIMEOUT, stream.read(&mut [0; 16])).await;
        matches!(read, Ok(Ok(0) | Err(_)))
    }

    #[tokio::test]
    async fn connection_that_says_nothing_is_closed_in_time() {
        let (address, _engine, _dir) = start(Duration::from_millis(20), 1, 1).await;
        for opening in [&b""[..], &PROTOCOL_VERSION.to_le_bytes()[..7]] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(opening).await.unwrap();
            assert!(ends(&mut stream).await);
        }
    }

    #[tokio::test]
    async fn the_oldest_stranger_goes_and_no_known_connection() {
        let (address, engine, _dir) = start(TIMEOUT, 1, 1).await;
        let mut known = TcpStream::connect(address).await.unwrap();
        known
            .write_all(&PROTOCOL_VERSION.to_le_bytes())
            .await
            .unwrap();
        // What reaches the engine is known.
        let _link = engine.accept().await.unwrap();
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        assert!(ends(&mut silent).await);
        // The only place among the known is taken.
        let _ = second.write_all(&PROTOCOL_VERSION.to_le_bytes()).await;
        assert!(ends(&mut second).await);
        assert!(
            known
                .try_read(&mut [0])
                .is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
        );
    }
}
