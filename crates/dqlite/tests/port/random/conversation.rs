//! The requests of one client, and the ways in which it leaves.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use dqlite::wire::{PROTOCOL_VERSION, Reply};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::pick;
use super::requests::{CONNECT, OPEN, PREPARE, open, raft_message, request, tables};
use crate::raw::{Frame, Raw, bytes};

/// Requests of one connection.
const MAX_REQUESTS: usize = 40;

/// The longest wait for an answer: another client may hold the lock, and a change of the nodes takes half a minute.
const PATIENCE: Duration = Duration::from_secs(2);

/// The last requests and answers that are kept, to be shown where a node has ended, and the characters of each.
const KEPT: usize = 160;
const SHOWN: usize = 300;

#[derive(Default)]
pub struct Sent {
    pub requests: u64,
    pub answers: u64,
    pub errors: u64,
    pub connections: u64,
    pub last: VecDeque<String>,
}

impl Sent {
    fn note(&mut self, what: &str, frame: &Frame) {
        let (kind, schema, body) = frame;
        self.requests += 1;
        self.keep(format!(
            "{what} type {kind}, schema {schema}: {}",
            body.escape_ascii()
        ));
    }

    fn keep(&mut self, mut line: String) {
        line.truncate(SHOWN);
        self.last.truncate(KEPT - 1);
        self.last.push_front(line);
    }
}

/// Talks to the port until so many requests were sent, or the node is gone.
pub async fn client(address: &str, seed: u64, requests: u64) -> Sent {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut sent = Sent::default();
    while sent.requests < requests {
        let Ok(stream) = TcpStream::connect(address).await else {
            break;
        };
        sent.connections += 1;
        sent.keep(format!("connection {}", sent.connections));
        // It may end at any time.
        if let Err(error) = converse(stream, &mut rng, &mut sent).await {
            sent.keep(format!("left after {error}"));
        }
    }
    sent
}

async fn converse(mut stream: TcpStream, rng: &mut StdRng, sent: &mut Sent) -> io::Result<()> {
    let version = match rng.random_range(0..40) {
        0 => rng.random(),
        1 => 0x8610_4dd7_6043_3fe5,
        _ => PROTOCOL_VERSION,
    };
    stream.write_all(&version.to_le_bytes()).await?;
    let mut raw = Raw(stream);
    let mut talk = Talk {
        rng,
        sent,
        waiting: 0,
        prepared: 0,
    };
    if talk.rng.random_range(0..30) == 0 {
        return talk.link(&mut raw).await;
    }
    if talk.rng.random_range(0..20) > 0 {
        talk.send(&mut raw, &open()).await?;
        if talk.rng.random() {
            let tables = tables(talk.rng);
            talk.send(&mut raw, &tables).await?;
        }
    }
    for _ in 0..talk.rng.random_range(1..MAX_REQUESTS) {
        let request = request(talk.rng, talk.prepared);
        talk.send(&mut raw, &request).await?;
        if request.0 == CONNECT {
            return Ok(());
        }
        // The rest is sent before its answer.
        if talk.rng.random_range(0..4) > 0 {
            talk.wait(&mut raw).await?;
        }
    }
    talk.leave(raw).await
}

struct Talk<'a> {
    rng: &'a mut StdRng,
    sent: &'a mut Sent,
    /// Requests without an answer.
    waiting: usize,
    prepared: u64,
}

impl Talk<'_> {
    async fn send(&mut self, raw: &mut Raw, request: &Frame) -> io::Result<()> {
        self.sent.note("sent", request);
        self.waiting += 1;
        self.prepared += u64::from(request.0 == PREPARE);
        if request.0 == OPEN {
            self.prepared = 0;
        }
        let bytes = bytes(request);
        if self.rng.random_range(0..10) > 0 {
            return raw.0.write_all(&bytes).await;
        }
        // In two parts, of which the second comes when others had their turn.
        let (first, second) = bytes.split_at(self.rng.random_range(0..bytes.len()));
        raw.0.write_all(first).await?;
        raw.0.flush().await?;
        tokio::task::yield_now().await;
        raw.0.write_all(second).await
    }

    async fn wait(&mut self, raw: &mut Raw) -> io::Result<()> {
        while self.waiting > 0 {
            match timeout(PATIENCE, raw.next()).await?? {
                // Of the rest nobody hears.
                Reply::Rows(_) if self.rng.random_range(0..200) == 0 => {
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                Reply::Rows(part) if part.more => {}
                Reply::Failure(failure) => {
                    self.waiting -= 1;
                    self.sent.errors += 1;
                    self.sent.keep(format!(
                        "failure {}: {}",
                        failure.code,
                        failure.message.escape_default()
                    ));
                }
                reply => {
                    let reply = format!("{reply:?}").escape_default().to_string();
                    self.sent.keep(format!("answer {reply}"));
                    self.waiting -= 1;
                    self.sent.answers += 1;
                }
            }
        }
        Ok(())
    }

    /// Leaves: after all answers, in the middle of a request, or with its own half closed.
    async fn leave(&mut self, mut raw: Raw) -> io::Result<()> {
        match self.rng.random_range(0..4) {
            0 => self.wait(&mut raw).await,
            1 => {
                let request = request(self.rng, self.prepared);
                self.sent.note("cut", &request);
                let bytes = bytes(&request);
                let part = self.rng.random_range(0..bytes.len());
                raw.0.write_all(&bytes[..part]).await
            }
            2 => {
                raw.0.shutdown().await?;
                self.wait(&mut raw).await
            }
            _ => Ok(()),
        }
    }

    /// Speaks as another node.
    async fn link(&mut self, raw: &mut Raw) -> io::Result<()> {
        let id = pick(self.rng, &[1, 2, 7, 9]);
        let connect = crate::raw::words(&[id]);
        let connect = (
            CONNECT,
            0,
            [connect, crate::raw::text("127.0.0.1:1")].concat(),
        );
        self.send(raw, &connect).await?;
        for _ in 0..self.rng.random_range(0..9) {
            let message = raft_message(self.rng);
            self.sent.note("link", &(0, 0, message.clone()));
            raw.0.write_all(&message).await?;
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}
