//! HTTP/1.1 by hand, so that a test decides every byte, and when it is sent.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::harness::{Server, TIMEOUT};

/// A connection with one request on it.
pub struct Exchange {
    stream: BufReader<TcpStream>,
    pub status: u16,
    /// The headers by their names in lower case.
    pub headers: HashMap<String, String>,
    /// The unread rest of a chunk, in a chunked body.
    buffer: Vec<u8>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    let within = tokio::time::timeout(TIMEOUT, what);
    within.await.expect("the server answers in time")
}

/// Sends a request, and returns without waiting for the answer.
pub async fn send(server: &Server, method: &str, path: &str, more: &str, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", server.client_port()))
        .await
        .unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    stream
}

/// Waits for the head of the answer.
pub async fn open(server: &Server, method: &str, path: &str, more: &str, body: &[u8]) -> Exchange {
    let length = format!("{more}Content-Length: {}\r\n", body.len());
    Exchange::read_head(send(server, method, path, &length, body).await).await
}

pub async fn request(server: &Server, method: &str, path: &str, more: &str, body: &[u8]) -> Answer {
    let mut exchange = open(server, method, path, more, body).await;
    let body = exchange.body().await;
    Answer {
        status: exchange.status,
        headers: exchange.headers,
        body,
    }
}

/// A call, and its answer without what differs between servers.
pub async fn post(server: &Server, path: &str, body: impl ToString) -> (u16, Value) {
    let answer = request(server, "POST", path, "", body.to_string().as_bytes()).await;
    let mut json = answer.json();
    mask(&mut json);
    (answer.status, json)
}

/// A call that must succeed.
pub async fn ok(server: &Server, path: &str, body: impl ToString) -> Value {
    let (status, json) = post(server, path, body).await;
    assert_eq!(status, 200, "{path}: {json}");
    json
}

/// A streaming call whose requests are all in `body`.
pub async fn stream(server: &Server, path: &str, body: impl ToString) -> Exchange {
    let exchange = open(server, "POST", path, "", body.to_string().as_bytes()).await;
    assert_eq!(exchange.status, 200, "{path}");
    exchange
}

/// Takes away which cluster, member and term it was.
pub fn mask(json: &mut Value) {
    match json {
        Value::Object(fields) => {
            if let Some(Value::Object(header)) = fields.get_mut("header") {
                for name in ["cluster_id", "member_id", "raft_term"] {
                    header.remove(name);
                }
            }
            fields.values_mut().for_each(mask);
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        _ => {}
    }
}

impl Exchange {
    pub async fn read_head(stream: TcpStream) -> Self {
        let mut exchange = Self {
            stream: BufReader::new(stream),
            status: 0,
            headers: HashMap::new(),
            buffer: Vec::new(),
        };
        exchange.read_next_head().await;
        exchange
    }

    /// Waits for the head of the next answer on the same connection.
    pub async fn read_next_head(&mut self) {
        let first = self.head_line().await;
        self.status = first.split(' ').nth(1).unwrap().parse().unwrap();
        self.headers.clear();
        loop {
            let line = self.head_line().await;
            let Some((name, value)) = line.split_once(':') else {
                return;
            };
            let name = name.to_ascii_lowercase();
            self.headers.insert(name, value.trim().to_owned());
        }
    }

    async fn head_line(&mut self) -> String {
        let mut line = String::new();
        soon(self.stream.read_line(&mut line)).await.unwrap();
        line.trim_end().to_owned()
    }

    fn is_chunked(&self) -> bool {
        self.headers
            .get("transfer-encoding")
            .is_some_and(|encoding| encoding == "chunked")
    }

    pub async fn send_chunk(&mut self, bytes: &[u8]) {
        let stream = self.stream.get_mut();
        stream
            .write_all(format!("{:x}\r\n", bytes.len()).as_bytes())
            .await
            .unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.write_all(b"\r\n").await.unwrap();
    }

    /// The next chunk; none after the last one.
    async fn chunk(&mut self) -> Option<Vec<u8>> {
        let size_bytes = usize::from_str_radix(&self.head_line().await, 16).unwrap();
        let mut chunk = vec![0; size_bytes + 2];
        soon(self.stream.read_exact(&mut chunk)).await.unwrap();
        chunk.truncate(size_bytes);
        (size_bytes > 0).then_some(chunk)
    }

    pub async fn body(&mut self) -> Vec<u8> {
        if !self.is_chunked() {
            let size_bytes = self.headers.get("content-length");
            let size_bytes = size_bytes.map_or(0, |size| size.parse().unwrap());
            let mut body = vec![0; size_bytes];
            soon(self.stream.read_exact(&mut body)).await.unwrap();
            return body;
        }
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await {
            body.extend(chunk);
        }
        body
    }

    /// The next message of a stream, masked; none when it ended in order.
    pub async fn next(&mut self) -> Option<Value> {
        assert!(self.is_chunked(), "{:?}", self.headers);
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let mut json = serde_json::from_slice(&line).unwrap();
                mask(&mut json);
                return Some(json);
            }
            let chunk = self.chunk().await?;
            self.buffer.extend(chunk);
        }
    }

    /// The next message, which must come and be a result.
    pub async fn result(&mut self) -> Value {
        let mut message = self.next().await.expect("the stream goes on");
        message["result"].take()
    }

    /// Returns whether nothing comes for a moment.
    pub async fn is_silent(&mut self) -> bool {
        const MOMENT: Duration = Duration::from_millis(200);
        tokio::time::timeout(MOMENT, self.stream.fill_buf())
            .await
            .is_err()
    }
}
