//! Thousands of connections that do nothing, and requests that never end.

use std::process::Command;

use tokio::time::{Duration, Instant};

use super::{Bystanders, call, payload, resident_kib};
use crate::harness::*;

/// A new client is served within this time. It takes milliseconds, and a second where others keep the machine
/// busy; what has to be told from it is the wait for a timeout of 10 or 30 s.
pub const SERVED_WITHIN: Duration = Duration::from_secs(5);

pub const SILENT: usize = 5000;
pub const HALF_OPEN: usize = 3000;

/// The beginning of a connection with HTTP/2: the preface, and no settings.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

async fn is_served_at_once(server: &Server) {
    let began = Instant::now();
    assert!(server.api().await.put("a", "1").await > 1);
    let took = began.elapsed();
    println!("served after {took:?}");
    assert!(took < SERVED_WITHIN, "{took:?}");
}

#[tokio::test]
async fn a_client_is_served_beside_thousands_of_silent_ones() {
    let server = Server::start(Kind::K8sDqlite).await;
    let beginnings = [&b""[..], b"G", PREFACE];
    let crowd = crowd(server.client_port(), SILENT, &beginnings).await;
    is_served_at_once(&server).await;
    drop(crowd);
}

#[tokio::test]
async fn a_client_is_served_beside_thousands_of_half_open_handshakes() {
    let pki = Pki::new();
    let options = Options {
        flags: pki.flags(),
        tls: Some(pki.client(None)),
    };
    let server = Server::start_with(Kind::K8sDqlite, options).await;
    let crowd = crowd(server.client_port(), HALF_OPEN, &[b"", CLIENT_HELLO]).await;
    is_served_at_once(&server).await;
    drop(crowd);
}

/// Starts the command with this limit of open files.
fn limit_files(command: &mut Command, files: u64) {
    let mut limited = Command::new("prlimit");
    limited
        .arg(format!("--nofile={files}:{files}"))
        .arg(command.get_program())
        .args(command.get_args());
    *command = limited;
}

#[tokio::test]
async fn with_few_files_idle_connections_make_room_and_the_engine_lives() {
    let mut server = Server::prepare(Kind::K8sDqlite, Options::default());
    server.launch_with(|command, _| limit_files(command, 256));
    server.ready().await;
    // More than there are places for clients. Each has had an answer, so none is a stranger.
    let mut idle = Vec::new();
    for index in 0..150 {
        let api = server.api().await;
        api.put("idle", &index.to_string()).await;
        idle.push(api);
    }
    is_served_at_once(&server).await;
    let ports = [server.client_port(), server.node_port()];
    let mut crowds = Vec::new();
    for port in ports {
        crowds.push(crowd(port, 500, &[b"", PREFACE]).await);
    }
    is_served_at_once(&server).await;
    assert!(server.process().exited().is_none());
    // Who watches is not idle.
    let (mut watcher, _) = Watcher::open(&server.api().await, watch("idle")).await;
    for index in 0..150 {
        server.api().await.put("idle", &index.to_string()).await;
    }
    assert_eq!(watcher.events(150).await.len(), 150);
    assert!(server.terminate().await.success(), "it stops as usual");
}

/// Requests of the largest size that a server takes, of which all but a part has come.
pub const UNFINISHED: usize = 400;
const MESSAGE_BYTES: usize = 2 << 20;
const SENT_BYTES: usize = MESSAGE_BYTES / 8 * 7;

/// Returns what is sent of each.
pub fn part() -> bytes::Bytes {
    payload::frame(0, MESSAGE_BYTES as u32, &vec![7; SENT_BYTES])
}

/// The growth that is allowed: some times the limit of a connection, and far below what they would take, 700 MiB.
const GROWTH_KIB: u64 = 256 * 1024;

/// The limit of a connection.
const HELD_BYTES: usize = 64 << 20;

parity! { a_message_that_is_too_large_is_refused_by_its_head }

async fn a_message_that_is_too_large_is_refused_by_its_head(server: Server) {
    let api = server.api().await;
    let head = payload::frame(0, MESSAGE_BYTES as u32 + 1, b"");
    let calls = [
        "KV/Put",
        "KV/Range",
        "Auth/Authenticate",
        "Lease/LeaseGrant",
    ];
    for path in calls {
        let path = format!("/etcdserverpb.{path}");
        let mut unfinished = vec![call::unfinished(&api, &path, head.clone())];
        let refused = call::refused(&mut unfinished).await;
        assert_eq!(refused.as_deref(), Some("8"), "{path}: resource exhausted");
    }
}

#[tokio::test]
async fn unfinished_requests_hold_a_limited_number_of_bytes() {
    let mut server = Server::start(Kind::K8sDqlite).await;
    let api = server.api().await;
    let mut bystanders = Bystanders::new(&server, &api).await;
    let before = resident_kib(&mut server);
    let mut unfinished = Vec::new();
    for _ in 0..UNFINISHED {
        unfinished.push(call::unfinished(&api, "/etcdserverpb.KV/Put", part()));
    }
    // Those who go for others are told so.
    let refused = call::refused(&mut unfinished).await;
    assert_eq!(refused.as_deref(), Some("8"), "resource exhausted");
    until("the others have sent what they may", async || {
        bystanders.check("beside unfinished calls").await;
        unfinished.retain(|call| !call.has_ended());
        unfinished.len() <= HELD_BYTES / SENT_BYTES + 1
    })
    .await;
    let grown = resident_kib(&mut server).saturating_sub(before);
    println!("{grown} KiB more");
    assert!(grown < GROWTH_KIB, "{grown} KiB more");
    drop(unfinished);
    bystanders.check("after unfinished calls").await;
}
