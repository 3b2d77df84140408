//! One node for a test, and a client of a few lines that does without the crate's own.

use std::{
    io::{self, Read, Write},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixStream},
    },
    path::Path,
    sync::Arc,
    time::Duration,
};

use dqlite::{
    node::{BOOTSTRAP_ID, Node, NodeOptions},
    wire::NodeId,
};

/// Long enough for a machine under load, short enough to end a hanging test.
pub const DEADLINE: Duration = Duration::from_secs(30);

pub fn options(dir: &Path) -> NodeOptions {
    let dial = Arc::new(|_: &str| Err(io::ErrorKind::ConnectionRefused.into()));
    NodeOptions {
        bootstrap: true,
        ..NodeOptions::new(BOOTSTRAP_ID, "10.1.2.3:9000", dir, dial)
    }
}

pub fn start(options: &NodeOptions) -> Node {
    let mut node = Node::create(options).unwrap();
    node.start().unwrap();
    node
}

/// A connection to the engine that has named its protocol version.
pub struct Client(pub UnixStream);

impl Client {
    pub fn connect(node: &Node) -> Self {
        let name = node.bind_address().strip_prefix('@').unwrap();
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let mut socket = UnixStream::connect_addr(&address).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.write_all(&1u64.to_le_bytes()).unwrap();
        Self(socket)
    }

    /// Send one request and return type and body of the answer.
    pub fn call(&mut self, request: u8, body: &[u8]) -> (u8, Vec<u8>) {
        self.send(request, body);
        self.receive()
    }

    pub fn receive(&mut self) -> (u8, Vec<u8>) {
        let mut header = [0; 8];
        self.0.read_exact(&mut header).unwrap();
        let words = u32::from_le_bytes(header[..4].try_into().unwrap());
        let mut body = vec![0; words as usize * 8];
        self.0.read_exact(&mut body).unwrap();
        (header[4], body)
    }

    pub fn send(&mut self, request: u8, body: &[u8]) {
        assert_eq!(body.len() % 8, 0);
        self.0
            .write_all(&((body.len() / 8) as u32).to_le_bytes())
            .unwrap();
        self.0.write_all(&[request, 0, 0, 0]).unwrap();
        self.0.write_all(body).unwrap();
    }

    /// The id and the address of the leader, once there is one.
    pub fn leader(&mut self) -> (NodeId, String) {
        let (kind, body) = self.call(0, &[0; 8]);
        assert_eq!(kind, 1, "not a SERVER answer");
        let text = body[8..].split(|byte| *byte == 0).next().unwrap();
        (
            NodeId::new(u64::from_le_bytes(body[..8].try_into().unwrap())),
            String::from_utf8_lossy(text).into(),
        )
    }

    pub fn exec(&mut self, sql: &str) {
        self.send_exec(sql);
        self.expect_result();
    }

    pub fn send_exec(&mut self, sql: &str) {
        let mut body = 0u64.to_le_bytes().to_vec();
        body.extend(padded(sql));
        self.send(8, &body);
    }

    pub fn expect_result(&mut self) {
        let (kind, body) = self.receive();
        assert_eq!(
            kind,
            6,
            "not a RESULT answer: {}",
            String::from_utf8_lossy(&body)
        );
    }

    pub fn exec_fails(&mut self, sql: &str) {
        self.send_exec(sql);
        assert_eq!(self.receive().0, 0, "not a FAILURE answer");
    }

    pub fn add(&mut self, id: u64, address: &str) {
        let mut body = id.to_le_bytes().to_vec();
        body.extend(padded(address));
        let (kind, body) = self.call(12, &body);
        assert_eq!(
            kind,
            8,
            "not an EMPTY answer: {}",
            String::from_utf8_lossy(&body)
        );
    }

    pub fn open(&mut self) {
        let mut body = padded("test");
        body.extend([0; 8]);
        body.extend(padded(""));
        assert_eq!(self.call(3, &body).0, 4, "not a DB answer");
    }
}

fn padded(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize((text.len() / 8 + 1) * 8, 0);
    bytes
}
