//! A dqlite server that reads requests and answers by script.

use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use dqlite::client::Endpoint;
use dqlite::wire::{Header, PROTOCOL_VERSION, Reply, Request, RequestKind};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

/// The next action of the server.
#[derive(Debug, Clone)]
pub enum Step {
    /// Reads a request, answers with these bytes.
    Send(Vec<u8>),
    /// Reads a request, answers byte by byte.
    Dribble(Vec<u8>),
    /// Reads a request, answers with these bytes and closes the connection.
    SendAndClose(Vec<u8>),
    /// Reads a request and answers nothing.
    Silence,
    /// Stops reading.
    Deaf,
    /// Waits for [`FakeServer::open_gate`].
    Gate,
    /// Sends these bytes unasked.
    Push(Vec<u8>),
}

impl Step {
    pub fn reply(reply: Reply) -> Step {
        Step::Send(bytes_of(&reply))
    }
}

pub fn bytes_of(reply: &Reply) -> Vec<u8> {
    let mut out = BytesMut::new();
    reply.encode(&mut out).unwrap();
    out.to_vec()
}

#[derive(Debug)]
pub struct FakeServer {
    endpoint: Endpoint,
    requests: Arc<Mutex<Vec<RequestKind>>>,
    gate: Arc<Notify>,
    task: JoinHandle<()>,
    _dir: TempDir,
}

impl FakeServer {
    /// Serves connections, each by the script from its start.
    pub fn start(steps: Vec<Step>) -> FakeServer {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let gate = Arc::new(Notify::new());
        let script = Script {
            steps,
            requests: requests.clone(),
            gate: gate.clone(),
        };
        let task = tokio::spawn(async move {
            // The connections end with this task.
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(script.clone().run(stream));
            }
        });
        FakeServer {
            endpoint: Endpoint::Unix(path),
            requests,
            gate,
            task,
            _dir: dir,
        }
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The kinds of the requests so far.
    pub fn requests(&self) -> Vec<RequestKind> {
        self.requests.lock().unwrap().clone()
    }

    pub fn open_gate(&self) {
        self.gate.notify_one();
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Script {
    steps: Vec<Step>,
    requests: Arc<Mutex<Vec<RequestKind>>>,
    gate: Arc<Notify>,
}

impl Script {
    async fn run(self, mut stream: UnixStream) {
        assert_eq!(stream.read_u64_le().await.unwrap(), PROTOCOL_VERSION);
        for step in &self.steps {
            match step {
                Step::Send(bytes) => {
                    self.read_request(&mut stream).await;
                    stream.write_all(bytes).await.unwrap();
                }
                Step::Dribble(bytes) => {
                    self.read_request(&mut stream).await;
                    for byte in bytes {
                        stream.write_all(&[*byte]).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                }
                Step::SendAndClose(bytes) => {
                    self.read_request(&mut stream).await;
                    stream.write_all(bytes).await.unwrap();
                    // Without reading the rest, the close would be a reset that overtakes the reply.
                    let _ = stream.shutdown().await;
                    while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {}
                    return;
                }
                Step::Silence => self.read_request(&mut stream).await,
                Step::Deaf => break,
                Step::Gate => self.gate.notified().await,
                Step::Push(bytes) => stream.write_all(bytes).await.unwrap(),
            }
        }
        std::future::pending::<()>().await;
    }

    async fn read_request(&self, stream: &mut UnixStream) {
        let mut raw = [0; Header::BYTES];
        stream.read_exact(&mut raw).await.unwrap();
        let header = Header::decode(&raw).unwrap();
        let mut body = vec![0; header.body_bytes()];
        stream.read_exact(&mut body).await.unwrap();
        let body = Bytes::from(body);
        self.requests
            .lock()
            .unwrap()
            .push(Request::decode(&header, &body).unwrap().kind());
    }
}
