//! The dqlite port, in front of the real engine.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::pair::PairFiles;
use dqlite::client::{ConnectOptions, Connection, Endpoint, Error};
use dqlite::cluster::resolver;
use dqlite::node::{BOOTSTRAP_ID, Node, NodeOptions};
use dqlite::proxy::{
    BoundPort, LocalEngine, PeerHandler, PeerStream, PortError, Proxy, ProxyOptions, dialer,
};
use dqlite::tls::Tls;
use dqlite::wire::{NodeId, Param, Role, Value};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Never reached by a test that passes.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// A node with its engine and its port.
pub(super) struct Server {
    pub(super) node: Node,
    pub(super) address: String,
    tls: Option<Tls>,
    stop: Option<oneshot::Sender<()>>,
    proxy: JoinHandle<()>,
    _dir: Option<TempDir>,
}

/// A port that was free a moment ago. The engine must know its address before it starts.
pub(super) async fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

impl Server {
    pub(super) async fn start(id: NodeId, tls: Option<Tls>) -> Server {
        Server::start_with_peers(id, tls, None).await
    }

    async fn start_with_peers(
        id: NodeId,
        tls: Option<Tls>,
        peers: Option<Arc<dyn PeerHandler>>,
    ) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let address = free_address().await;
        let server = Server::start_in(dir.path(), &address, id, tls, peers).await;
        Server {
            _dir: Some(dir),
            ..server
        }
    }

    /// Starts it with what is in a directory.
    pub(super) async fn start_in(
        dir: &Path,
        address: &str,
        id: NodeId,
        tls: Option<Tls>,
        peers: Option<Arc<dyn PeerHandler>>,
    ) -> Server {
        let dial = dialer(Handle::current(), resolver(tls.clone()));
        let mut options = NodeOptions::new(id, address, dir, dial);
        options.bootstrap = id == BOOTSTRAP_ID && !dir.join("metadata1").exists();
        options.bind_address = "@".into();
        options.network_latency = Some(Duration::from_millis(20));
        let node = tokio::task::spawn_blocking(move || {
            let mut node = Node::create(&options).unwrap();
            node.start().unwrap();
            node
        });
        let node = node.await.unwrap();
        let proxy = ProxyOptions {
            engine: LocalEngine::of(&node),
            tls: tls.clone(),
            peers,
            cluster_id: None,
        };
        let port = BoundPort::bind(address).await.unwrap();
        let proxy = Proxy::listen(port, proxy).unwrap();
        let (stop, stopped) = oneshot::channel();
        let proxy = tokio::spawn(proxy.run(async {
            let _ = stopped.await;
        }));
        Server {
            node,
            address: address.to_owned(),
            tls,
            stop: Some(stop),
            proxy,
            _dir: None,
        }
    }

    /// Stops the port, and then the engine.
    pub(super) async fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        (&mut self.proxy).await.unwrap();
        tokio::task::block_in_place(|| self.node.stop().unwrap());
    }

    pub(super) async fn connect(&self) -> Connection {
        self.try_connect(self.tls.clone()).await.unwrap()
    }

    async fn try_connect(&self, tls: Option<Tls>) -> Result<Connection, Error> {
        let address = self.address.clone();
        let endpoint = match tls {
            Some(tls) => Endpoint::Tls { address, tls },
            None => Endpoint::Tcp(address),
        };
        Connection::connect(&endpoint, ConnectOptions::default()).await
    }
}

fn tls() -> Tls {
    PairFiles::new(&["node1"], &[]).load()
}

/// Returns whether the peer closes the connection without a word of dqlite. A TLS alert may come.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut answer = Vec::new();
    match timeout(TIMEOUT, stream.read_to_end(&mut answer)).await {
        Ok(Ok(bytes)) => bytes < 16,
        Ok(Err(_reset)) => true,
        Err(_) => false,
    }
}

async fn use_sql(connection: &mut Connection) {
    connection.open("test").await.unwrap();
    connection
        .exec_sql("CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)", &[])
        .await
        .unwrap();
    let sql = format!("INSERT INTO t (v) VALUES {}", ["(?)"; 256].join(","));
    let insert = connection.prepare(&sql).await.unwrap();
    let value = vec![0x5a; 2048];
    connection
        .exec(&insert, &[Param::Blob(&value); 256])
        .await
        .unwrap();
    let rows = connection
        .query_sql("SELECT id, v FROM t ORDER BY id", &[])
        .await
        .unwrap();
    let rows = rows.collect(1000).await.unwrap();
    assert_eq!(rows.len(), 256);
    assert_eq!(
        rows[255].0,
        [Value::Integer(256), Value::Blob(value.into())]
    );
}

/// The engine alone would keep the write lock for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_in_the_middle_of_a_writing_result_blocks_nobody() {
    let server = Server::start(BOOTSTRAP_ID, Some(tls())).await;
    let mut other = server.connect().await;
    other.open("test").await.unwrap();
    let create = "CREATE TABLE t (id INTEGER PRIMARY KEY, v)";
    other.exec_sql(create, &[]).await.unwrap();
    for _ in 0..3 {
        let mut leaving = server.connect().await;
        leaving.open("test").await.unwrap();
        leaving.exec_sql("BEGIN", &[]).await.unwrap();
        let insert = "INSERT INTO t (v) \
            WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 50000) \
            SELECT hex(zeroblob(50)) FROM n RETURNING id, v";
        let mut rows = leaving.query_sql(insert, &[]).await.unwrap();
        assert!(!rows.next_part().await.unwrap().unwrap().is_empty());
        drop(leaving);
        let written = async {
            // The lock is given back when the rest of the result has been read.
            while let Err(error) = other.exec_sql("INSERT INTO t (v) VALUES (1)", &[]).await {
                assert!(matches!(error, Error::Busy { .. }), "{error}");
            }
        };
        timeout(TIMEOUT, written).await.unwrap();
    }
    let rows = other
        .query_sql("SELECT count(*) FROM t", &[])
        .await
        .unwrap();
    let rows = rows.collect(1).await.unwrap();
    assert_eq!(
        rows[0].0,
        [Value::Integer(3)],
        "what was cut off was rolled back"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_works_through_tls() {
    let server = Server::start(BOOTSTRAP_ID, Some(tls())).await;
    let mut connection = server.connect().await;
    assert_eq!(
        connection.leader().await.unwrap().unwrap().address,
        server.address
    );
    use_sql(&mut connection).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_works_in_clear() {
    let server = Server::start(BOOTSTRAP_ID, None).await;
    use_sql(&mut server.connect().await).await;
}

/// Returns byte sequences that somebody without the key, or another program, might send.
fn noise() -> Vec<Vec<u8>> {
    vec![
        b"GET / HTTP/1.1\r\nHost: node1\r\n\r\n".to_vec(),
        vec![0xff; 64],
        vec![0; 64],
        // A TLS record that promises more than it holds, and one of no known type.
        b"\x16\x03\x01\xff\xff".repeat(16),
        // dqlite in clear, and the header that hangs an engine.
        [
            &1u64.to_le_bytes()[..],
            &[0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0],
        ]
        .concat(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_on_a_tls_port_is_closed_and_hurts_no_other_connection() {
    let server = Server::start(BOOTSTRAP_ID, Some(tls())).await;
    let mut connection = server.connect().await;
    use_sql(&mut connection).await;
    for noise in noise() {
        let mut stream = TcpStream::connect(&server.address).await.unwrap();
        stream.write_all(&noise).await.unwrap();
        stream.shutdown().await.unwrap();
        assert!(is_closed(&mut stream).await, "{noise:x?}");
        connection
            .exec_sql("INSERT INTO t (v) VALUES (x'00')", &[])
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lengths_that_hang_the_engine_are_stopped_at_the_port() {
    let server = Server::start(BOOTSTRAP_ID, None).await;
    let mut connection = server.connect().await;
    use_sql(&mut connection).await;
    for words in [0u32, 0x0800_0000, 0x2000_0000, 0x7fff_ffff, u32::MAX] {
        let mut stream = TcpStream::connect(&server.address).await.unwrap();
        stream.write_all(&1u64.to_le_bytes()).await.unwrap();
        stream.write_all(&words.to_le_bytes()).await.unwrap();
        stream.write_all(&[0, 0, 0, 0]).await.unwrap();
        assert!(is_closed(&mut stream).await, "{words:#x} words");
        connection
            .exec_sql("INSERT INTO t (v) VALUES (x'00')", &[])
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn client_with_another_key_pair_is_refused() {
    let server = Server::start(BOOTSTRAP_ID, Some(tls())).await;
    let refused = match server.try_connect(Some(tls())).await {
        Ok(mut connection) => connection.leader().await.map(|_| ()),
        Err(error) => Err(error),
    };
    assert!(refused.is_err());
    assert!(server.connect().await.leader().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn occupied_port_is_reported_as_such() {
    let occupant = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = occupant.local_addr().unwrap().to_string();
    let Err(error) = BoundPort::bind(&address).await else {
        panic!("bound {address} twice")
    };
    assert!(matches!(error, PortError::Occupied { .. }), "{error}");
    assert!(error.to_string().contains(&address), "{error}");
    // An address of the documentation range, which no machine has.
    let Err(error) = BoundPort::bind("192.0.2.1:9000").await else {
        panic!("not our address")
    };
    assert!(matches!(error, PortError::Elsewhere { .. }), "{error}");
    let Err(error) = BoundPort::bind("no-such-host.invalid:9000").await else {
        panic!("a name of nobody")
    };
    assert!(matches!(error, PortError::Unknown { .. }), "{error}");
}

/// A node that loads its database is not there yet, to others.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_refuses_connections_until_it_listens() {
    let address = free_address().await;
    let _port = BoundPort::bind(&address).await.unwrap();
    let refused = TcpStream::connect(&address).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_port_closes_its_connections_and_is_free_again() {
    let mut server = Server::start(BOOTSTRAP_ID, Some(tls())).await;
    let mut connection = server.connect().await;
    connection.leader().await.unwrap();
    server.stop.take().unwrap().send(()).unwrap();
    timeout(TIMEOUT, &mut server.proxy).await.unwrap().unwrap();
    assert!(connection.leader().await.is_err());
    TcpListener::bind(&server.address).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_engine_closes_the_connections_through_the_port() {
    let mut server = Server::start(BOOTSTRAP_ID, Some(tls())).await;
    let mut connection = server.connect().await;
    connection.leader().await.unwrap();
    tokio::task::block_in_place(|| server.node.stop().unwrap());
    let error = connection.leader().await.unwrap_err();
    assert!(
        matches!(error, Error::Disconnected(_) | Error::Unreachable(_)),
        "{error:?}"
    );
}

/// Answers the HTTP/2 preface with its length.
struct Echo;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl PeerHandler for Echo {
    fn handle(&self, mut stream: PeerStream) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let mut preface = vec![0; PREFACE.len()];
            stream.read_exact(&mut preface).await.unwrap();
            assert_eq!(preface, PREFACE);
            stream.write_u8(PREFACE.len() as u8).await.unwrap();
            stream.flush().await.unwrap();
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_goes_to_the_peer_handler_with_its_first_bytes() {
    let tls = tls();
    let server =
        Server::start_with_peers(BOOTSTRAP_ID, Some(tls.clone()), Some(Arc::new(Echo))).await;
    let stream = TcpStream::connect(&server.address).await.unwrap();
    let mut stream = tls.connect("node1", stream).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), PREFACE.len() as u8);
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_is_closed_where_nobody_serves_it() {
    let server = Server::start(BOOTSTRAP_ID, None).await;
    let mut stream = TcpStream::connect(&server.address).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    assert!(is_closed(&mut stream).await);
}

/// The second node gets the log, votes, and carries the next writes: links in both directions, dialled
/// by the engines and accepted by the ports.
async fn two_nodes_form_a_cluster(tls: Option<Tls>) {
    let first = Server::start(BOOTSTRAP_ID, tls.clone()).await;
    let second = Server::start(NodeId::new(2), tls).await;
    let mut leader = first.connect().await;
    use_sql(&mut leader).await;
    leader.set_request_timeout(TIMEOUT);
    leader.add(NodeId::new(2), &second.address).await.unwrap();
    leader.assign(NodeId::new(2), Role::Voter).await.unwrap();
    leader
        .exec_sql("INSERT INTO t (v) VALUES (x'01')", &[])
        .await
        .unwrap();
    leader.transfer(NodeId::new(2)).await.unwrap();
    let mut next = second.connect().await;
    next.set_request_timeout(TIMEOUT);
    next.open("test").await.unwrap();
    next.exec_sql("INSERT INTO t (v) VALUES (x'02')", &[])
        .await
        .unwrap();
    let rows = next.query_sql("SELECT count(*) FROM t", &[]).await.unwrap();
    assert_eq!(rows.collect(1).await.unwrap()[0].0, [Value::Integer(258)]);
    // The first one does not lead any more, and its database handle is gone.
    let error = leader
        .exec_sql("INSERT INTO t (v) VALUES (x'03')", &[])
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotLeader), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_form_a_cluster_through_tls() {
    two_nodes_form_a_cluster(Some(tls())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_form_a_cluster_in_clear() {
    two_nodes_form_a_cluster(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dial_to_nobody_fails_at_once() {
    let address = free_address().await;
    let dial = dialer(Handle::current(), resolver(None));
    let refused = tokio::task::spawn_blocking(move || dial(&address))
        .await
        .unwrap();
    assert_eq!(
        refused.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionRefused
    );
}
