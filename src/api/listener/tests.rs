use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use places::{Limits, Places};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_stream::StreamExt;
use tonic::transport::server::Connected;

use super::{connection::FIRST_BYTES_TIMEOUT, handshakes::HANDSHAKE_TIMEOUT, *};

const DEADLINE: Duration = Duration::from_secs(10);

fn tcp() -> ListenAddress {
    "tcp://127.0.0.1:0".parse().unwrap()
}

fn unix(path: &Path) -> ListenAddress {
    ListenSocket::Unix(path.to_owned()).into()
}

fn port(listener: &Listener) -> u16 {
    match listener.address().socket {
        ListenSocket::Tcp { port, .. } => port,
        ListenSocket::Unix(_) => panic!("not a port"),
    }
}

async fn bind(address: &ListenAddress) -> Result<Listener, ListenError> {
    Listener::bind(address, None).await
}

fn places(each: usize) -> Places {
    Places::new(Limits {
        strangers: each,
        known: each,
    })
}

async fn next(incoming: &mut Incoming) -> Connection {
    timeout(DEADLINE, incoming.next())
        .await
        .expect("in time")
        .unwrap()
        .unwrap()
}

/// Checks that a client's bytes come through.
async fn echo(incoming: &mut Incoming, mut client: impl AsyncReadExt + AsyncWriteExt + Unpin) {
    let mut connection = next(incoming).await;
    client.write_all(b"ping").await.unwrap();
    let mut buffer = [0; 4];
    connection.read_exact(&mut buffer).await.unwrap();
    connection.write_all(&buffer).await.unwrap();
    drop(connection);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"ping");
}

#[tokio::test]
async fn a_tcp_client_is_served_without_delay() {
    let listener = bind(&tcp()).await.unwrap();
    let port = port(&listener);
    assert_ne!(port, 0);
    let mut incoming = Incoming::new([listener], places(100));
    echo(
        &mut incoming,
        TcpStream::connect(("127.0.0.1", port)).await.unwrap(),
    )
    .await;
    let client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let connection = next(&mut incoming).await;
    assert_eq!(
        connection.connect_info().address,
        PeerAddress::Tcp(client.local_addr().unwrap())
    );
    assert!(connection.is_without_delay());
}

#[tokio::test]
async fn clients_of_all_sockets_are_served_and_share_the_places() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("k8s.sock");
    let (tls, _) = crate::tls::tests::server();
    let with_tls = "https://127.0.0.1:0".parse().unwrap();
    let addresses = [tcp(), unix(&path), with_tls];
    let listeners = Listener::bind_all(&addresses, Some(&tls), Sockets::default())
        .await
        .unwrap();
    let [plain, _, tls] = &listeners[..] else {
        panic!("{listeners:?}");
    };
    assert!(plain.tls.is_none() && tls.tls.is_some());
    let port = port(plain);
    let mut incoming = Incoming::new(listeners, places(1));
    let over_tcp = async || TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    for _ in 0..2 {
        echo(&mut incoming, over_tcp().await).await;
        echo(&mut incoming, UnixStream::connect(&path).await.unwrap()).await;
    }
    let _client = over_tcp().await;
    let mut first = next(&mut incoming).await;
    let _other = UnixStream::connect(&path).await.unwrap();
    let _second = next(&mut incoming).await;
    // There is one place for a stranger, and the oldest gives it up.
    let error = first.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
}

#[tokio::test]
async fn of_several_addresses_all_are_bound_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("k8s.sock");
    let occupant = bind(&tcp()).await.unwrap();
    let addresses = [unix(&path), occupant.address().clone()];
    let error = Listener::bind_all(&addresses, None, Sockets::default())
        .await
        .unwrap_err();
    let address = occupant.address().to_string();
    assert!(error.to_string().contains(&address), "{error}");
    assert!(!path.exists());
}

#[tokio::test]
async fn no_host_is_all_interfaces() {
    let address = "tcp://:0".parse().unwrap();
    let listener = bind(&address).await.unwrap();
    let port = port(&listener);
    let mut incoming = Incoming::new([listener], places(100));
    echo(
        &mut incoming,
        TcpStream::connect(("127.0.0.1", port)).await.unwrap(),
    )
    .await;
}

#[tokio::test]
async fn an_occupied_port_is_an_error_with_the_address_and_a_hint() {
    let listener = bind(&tcp()).await.unwrap();
    let error = bind(listener.address()).await.unwrap_err().to_string();
    let address = listener.address().to_string();
    assert!(
        error.contains(&address) && error.contains("ss -ltnp"),
        "{error}"
    );
}

#[tokio::test]
async fn an_address_of_no_interface_and_an_unknown_name_are_errors() {
    // A documentation address (RFC 5737).
    let error = bind(&"tcp://192.0.2.1:0".parse().unwrap())
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("no network interface"),
        "{error}"
    );
    let address = "tcp://no-such-host.invalid:0".parse().unwrap();
    let error = bind(&address).await.unwrap_err().to_string();
    assert!(error.contains("tcp://no-such-host.invalid:0"), "{error}");
}

#[tokio::test]
async fn a_socket_is_private_and_removed_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    // The path is taken as it is.
    let path = dir.path().join("kine.sock:12379");
    let listener = bind(&unix(&path)).await.unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut incoming = Incoming::new([listener], places(100));
    echo(&mut incoming, UnixStream::connect(&path).await.unwrap()).await;
    let client = UnixStream::connect(&path).await.unwrap();
    assert_eq!(
        next(&mut incoming).await.connect_info().address,
        PeerAddress::Unix
    );
    drop((incoming, client));
    assert!(!path.exists());
}

#[tokio::test]
async fn an_abandoned_socket_is_replaced_and_a_live_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("k8s.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let listener = bind(&unix(&path)).await.unwrap();
    let error = bind(&unix(&path)).await.unwrap_err();
    assert!(matches!(error, ListenError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("k8s.sock"), "{error}");
    let mut incoming = Incoming::new([listener], places(100));
    let _probe = next(&mut incoming).await;
    echo(&mut incoming, UnixStream::connect(&path).await.unwrap()).await;
}

#[tokio::test]
async fn the_socket_of_a_successor_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("k8s.sock");
    let first = bind(&unix(&path)).await.unwrap();
    fs::rename(&path, dir.path().join("aside")).unwrap();
    let second = bind(&unix(&path)).await.unwrap();
    drop(first);
    echo(
        &mut Incoming::new([second], places(100)),
        UnixStream::connect(&path).await.unwrap(),
    )
    .await;
}

#[tokio::test]
async fn what_is_no_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.txt");
    fs::write(&path, "mine").unwrap();
    let error = bind(&unix(&path)).await.unwrap_err().to_string();
    assert!(error.contains("notes.txt is not a socket"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}

#[tokio::test]
async fn a_path_that_cannot_be_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let error = bind(&unix(&dir.path().join("no/k8s.sock")))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("directory does not exist"),
        "{error}"
    );
    let long = dir.path().join("x".repeat(120));
    let error = bind(&unix(&long)).await.unwrap_err().to_string();
    assert!(error.contains("107"), "{error}");
}

#[tokio::test]
async fn the_oldest_stranger_goes_and_the_next_client_does_not_wait() {
    let listener = bind(&tcp()).await.unwrap();
    let port = port(&listener);
    let mut incoming = Incoming::new([listener], places(1));
    let mut silent = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut first = next(&mut incoming).await;
    let _second = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let second = next(&mut incoming).await;
    let read = timeout(DEADLINE, first.read(&mut [0])).await.unwrap();
    assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionAborted);
    drop(first);
    assert!(matches!(silent.read(&mut [0]).await, Ok(0) | Err(_)));
    // It has a call, and so does not go.
    let call = second.connect_info().begin_call();
    let _third = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let third = next(&mut incoming).await;
    let _call = third.connect_info().begin_call();
    let mut third = third;
    let read = timeout(DEADLINE, third.read(&mut [0])).await.unwrap();
    assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionAborted);
    drop(call);
}

#[tokio::test]
async fn a_handshake_that_others_need_the_place_of_ends() {
    let (server, pair) = crate::tls::tests::server();
    let listener = Listener::bind(&tcp(), Some(server)).await.unwrap();
    let port = port(&listener);
    let mut incoming = Incoming::new([listener], places(2));
    let mut half_open = Vec::new();
    for _ in 0..20 {
        half_open.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    }
    let client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let connected = async {
        tokio::join!(
            next(&mut incoming),
            crate::tls::tests::connect(&pair, client)
        )
    };
    timeout(HANDSHAKE_TIMEOUT / 2, connected)
        .await
        .expect("before those time out");
}

#[tokio::test]
async fn accepting_goes_on_after_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("k8s.sock");
    let listener = bind(&unix(&path)).await.unwrap();
    let mut incoming = Incoming::new([listener], places(100));
    for _ in 0..3 {
        incoming.pause(&io::Error::from_raw_os_error(libc::EMFILE));
    }
    echo(&mut incoming, UnixStream::connect(&path).await.unwrap()).await;
}

/// Returns how long the listener waits for a client that sends these bytes and then nothing; none
/// if for ever.
async fn timeout_after(bytes: &[u8]) -> Option<Duration> {
    let listener = bind(&tcp()).await.unwrap();
    let port = port(&listener);
    let mut incoming = Incoming::new([listener], places(100));
    let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    client.write_all(bytes).await.unwrap();
    let mut connection = next(&mut incoming).await;
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    let read = async {
        let mut buffer = [0; 64];
        while connection.read(&mut buffer).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    let ended = timeout(2 * FIRST_BYTES_TIMEOUT, read).await;
    let waited = started.elapsed();
    tokio::time::resume();
    let ended = ended.ok()?;
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::TimedOut);
    Some(waited)
}

#[tokio::test]
async fn a_client_that_does_not_begin_is_not_waited_for() {
    for bytes in [&b""[..], b"PRI * HTTP/2.0"] {
        let waited = timeout_after(bytes).await.expect("it ends");
        assert!(waited >= FIRST_BYTES_TIMEOUT, "{waited:?}");
    }
    // From here on it is for HTTP to end it.
    for bytes in [&b"G"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        assert_eq!(timeout_after(bytes).await, None);
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_cut_off() {
    let (server, _) = crate::tls::tests::server();
    let listener = Listener::bind(&tcp(), Some(server)).await.unwrap();
    let port = port(&listener);
    let mut incoming = Incoming::new([listener], places(100));
    let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    let mut end = [0];
    tokio::select! {
        _ = incoming.next() => panic!("there was no handshake"),
        read = client.read(&mut end) => assert_eq!(read.unwrap(), 0),
    }
    assert!(started.elapsed() >= HANDSHAKE_TIMEOUT);
}

#[tokio::test]
async fn tls_hides_no_odd_authority() {
    let (server, pair) = crate::tls::tests::server();
    let listener = Listener::bind(&tcp(), Some(server)).await.unwrap();
    let port = port(&listener);
    let mut incoming = Incoming::new([listener], places(100));
    let client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut connection, mut client) = tokio::join!(
        next(&mut incoming),
        crate::tls::tests::connect(&pair, client)
    );
    let peer = connection.connect_info();
    assert_eq!(peer.common_name(), Some("root"));
    assert_eq!(
        peer.address,
        PeerAddress::Tcp(client.get_ref().local_addr().unwrap())
    );
    // A HEADERS frame with one field, whose name is in the static table.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let head = [&preface[..], &[0, 0, 6, 1, 4, 0, 0, 0, 1, 0x41, 4]].concat();
    let sent = [&head[..], b"#i=["].concat();
    client.write_all(&sent).await.unwrap();
    let mut read = vec![0; sent.len()];
    connection.read_exact(&mut read).await.unwrap();
    assert_eq!(read, [&head[..], b"XXXX"].concat());
}
