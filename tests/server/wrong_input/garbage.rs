//! Bytes that are no protocol, on both ports.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::certificates::make_pair;
use crate::harness::*;

/// The longest that a connection that gets garbage may stay open before the next one is tried.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(300);
const RANDOM_ATTEMPTS: usize = 40;

/// A dqlite handshake, and then a request of so many words whose size in bytes overflows 32 bits.
fn dqlite_request(words: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = 1u64.to_le_bytes().to_vec();
    bytes.extend(words.to_le_bytes());
    // Request "leader", schema 0.
    bytes.extend([0, 0, 0, 0]);
    bytes.extend(body);
    bytes
}

fn samples() -> Vec<Vec<u8>> {
    let mut random = StdRng::seed_from_u64(1);
    let mut samples = vec![
        vec![],
        vec![0],
        vec![0xff; 100_000],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"GET /metrics HTTP/1.0\r\n\r\n".to_vec(),
        // The HTTP/2 preface, then a frame of 16 MiB.
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x00\x00\x00\x00\x00\x01".to_vec(),
        // TLS: a ClientHello that is cut short, and a wrong version.
        vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3],
        vec![0x16, 9, 9, 0, 1, 1],
        dqlite_request(0, &[]),
        dqlite_request(1, &[]),
        dqlite_request(1, &[0xff; 8]),
        dqlite_request(u32::MAX, &[0; 4096]),
        dqlite_request(0x1000_0001, &[0; 4096]),
        dqlite_request(0x2000_0000, &[0; 4096]),
        // go-dqlite's and the legacy protocol version.
        0x86104dd760433fe5u64.to_le_bytes().to_vec(),
        u64::MAX.to_le_bytes().repeat(20),
        // Raft's connections begin with its protocol version, an id and an address.
        b"\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
    ];
    for _ in 0..RANDOM_ATTEMPTS {
        let mut bytes = vec![0; random.random_range(1..20_000)];
        random.fill_bytes(&mut bytes);
        samples.push(bytes);
    }
    samples
}

/// Sends each sample on a connection of its own, and leaves half of them open.
async fn send_garbage(port: u16) -> Vec<TcpStream> {
    let mut left_open = Vec::new();
    for (index, sample) in samples().into_iter().enumerate() {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let exchange = async {
            stream.write_all(&sample).await?;
            let mut answer = vec![0; 65536];
            while stream.read(&mut answer).await? > 0 {}
            Ok::<_, std::io::Error>(())
        };
        // That the server closes, resets or waits for more is all the same.
        let _ = tokio::time::timeout(ATTEMPT_TIMEOUT, exchange).await;
        if index % 2 == 0 {
            left_open.push(stream);
        }
    }
    left_open
}

async fn garbage_does_no_harm(mut server: Server, port: u16) {
    let api = server.api().await;
    let (mut watcher, _) = Watcher::open(&api, watch("a")).await;
    let left_open = send_garbage(port).await;
    api.put("a", "1").await;
    assert_eq!(event_lines(&watcher.events(1).await), ["PUT a=1 @2"]);
    assert_eq!(
        server.api().await.put("a", "2").await,
        3,
        "new connections are served"
    );
    assert!(server.process().exited().is_none());
    drop(left_open);
    assert!(server.terminate().await.success(), "it stops as usual");
    server.restart().await;
    assert_eq!(
        server.api().await.ask(get("a")).await.kvs,
        [kv("a", "2", (2, 3, 2))]
    );
}

#[tokio::test]
async fn on_the_client_port() {
    let server = Server::start(Kind::K8sDqlite).await;
    let port = server.client_port();
    garbage_does_no_harm(server, port).await;
}

#[tokio::test]
async fn on_the_node_port() {
    let server = Server::start(Kind::K8sDqlite).await;
    let port = server.node_port();
    garbage_does_no_harm(server, port).await;
}

#[tokio::test]
async fn on_the_node_port_with_tls() {
    let options = Options::flags(&["--enable-tls=true"]);
    let mut server = Server::prepare(Kind::K8sDqlite, options);
    make_pair(&server.storage_dir());
    server.restart().await;
    let port = server.node_port();
    garbage_does_no_harm(server, port).await;
}
