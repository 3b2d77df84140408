//! HTTP/1.1 that is too large, too slow, or none, and gRPC clients with odd habits.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::Endpoint;

use crate::harness::*;

/// More than the server's threads, and files that it would need for each.
const SLOW: usize = 200;

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(("127.0.0.1", server.client_port()))
        .await
        .unwrap()
}

/// Sends this until the server has enough of it; returns what it answers.
async fn exchange(server: &Server, bytes: &[u8]) -> String {
    let (mut read, mut write) = connect(server).await.into_split();
    let mut answer = Vec::new();
    let both = async {
        // The server may close before it has all, and reset before the answer is read.
        let _ = tokio::join!(write.write_all(bytes), read.read_to_end(&mut answer));
    };
    tokio::time::timeout(TIMEOUT, both)
        .await
        .expect("the server ends it");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let server = Server::start(Kind::K8sDqlite).await;
    let long = format!("GET /health HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(2 << 20));
    let many = format!("GET /health HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(10_000));
    let path = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(2 << 20));
    for request in [long, many, path] {
        let answer = exchange(&server, request.as_bytes()).await;
        let is_refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        assert!(is_refused, "{answer}");
    }
    assert_eq!(server.http("GET", "/health").await.status, 200);
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    let server = Server::start(Kind::K8sDqlite).await;
    for garbage in [
        "\0\0\0\0",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "hello\r\n\r\n",
    ] {
        let answer = exchange(&server, garbage.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{garbage:?}: {answer}");
    }
    assert_eq!(server.api().await.put("a", "1").await, 2);
}

#[tokio::test]
async fn slow_clients_hold_up_nobody() {
    let mut server = Server::start(Kind::K8sDqlite).await;
    let mut slow = Vec::new();
    for index in 0..SLOW {
        let mut stream = connect(&server).await;
        let parts = [
            "",
            "GET /hea",
            "POST /health HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
        ];
        let part = parts[index % parts.len()];
        stream.write_all(part.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    assert_eq!(server.http("GET", "/health").await.status, 200);
    assert_eq!(server.api().await.put("a", "1").await, 2);
    assert!(
        server.terminate().await.success(),
        "they do not hold up a stop"
    );
    drop(slow);
}

#[tokio::test]
async fn clients_may_ping_as_often_as_they_like() {
    let server = Server::start(Kind::K8sDqlite).await;
    let channel = Endpoint::from_shared(server.client_url())
        .unwrap()
        .http2_keep_alive_interval(Duration::from_millis(5))
        .keep_alive_timeout(TIMEOUT)
        .keep_alive_while_idle(true)
        .connect()
        .await
        .unwrap();
    let api = Api::over(channel);
    let (mut watcher, _) = Watcher::open(&api, watch("a")).await;
    let started = tokio::time::Instant::now();
    let mut revision = 1;
    // Some 400 pings; etcd gives up on a client after three.
    while started.elapsed() < Duration::from_secs(2) {
        revision = api.put("a", "1").await;
        watcher.events(1).await;
    }
    assert!(revision > 10);
}
