//! Clients that do not speak TLS, or speak it slowly or badly.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{mutual, one_sided};
use crate::harness::*;

/// More than there are threads and files for; fewer than handshakes may run at a time.
const SILENT: usize = 200;

parity! { with one_sided(); silent_connections_hold_up_nobody }

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(("127.0.0.1", server.client_port()))
        .await
        .unwrap()
}

async fn silent_connections_hold_up_nobody(server: Server) {
    let silent = crowd(server.client_port(), SILENT, &[CLIENT_HELLO, b""]).await;
    assert_eq!(server.http("GET", "/health").await.status, 200);
    assert_eq!(server.api().await.put("a", "1").await, 2);
    drop(silent);
}

#[tokio::test]
async fn a_client_without_tls_is_told() {
    let server = Server::start_with(Kind::K8sDqlite, mutual()).await;
    let answer = http_over(connect(&server).await, "GET", "/health").await;
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.body,
        "Client sent an HTTP request to an HTTPS server.\n"
    );
    assert_eq!(server.api().await.put("a", "1").await, 2);
}

#[tokio::test]
async fn a_client_with_tls_is_refused_where_there_is_none() {
    let server = Server::start(Kind::K8sDqlite).await;
    let client = Pki::new().client(None);
    assert!(client.connect(server.client_port()).await.is_err());
    assert_eq!(server.api().await.put("a", "1").await, 2);
}

#[tokio::test]
async fn garbage_does_no_harm() {
    let mut server = Server::start_with(Kind::K8sDqlite, mutual()).await;
    for garbage in [
        vec![0x16; 20_000],
        [&[0x16, 3, 1, 0xff, 0xff][..], &[0xff; 70_000]].concat(),
        vec![0; 10],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
    ] {
        let mut stream = connect(&server).await;
        // It may be closed before all is sent.
        let _ = stream.write_all(&garbage).await;
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(TIMEOUT, stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "the connection is closed");
    }
    assert!(server.process().exited().is_none());
    assert_eq!(server.api().await.put("a", "1").await, 2);
}
