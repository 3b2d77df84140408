//! A client of the port that sends what it is told to.

use std::io;

use dqlite::wire::{Failure, Header, PROTOCOL_VERSION, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::proxy::TIMEOUT;

/// A request: type, schema, body.
pub type Frame = (u8, u8, Vec<u8>);

pub struct Raw(pub TcpStream);

impl Raw {
    pub async fn connect(address: &str) -> Raw {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let version = PROTOCOL_VERSION.to_le_bytes();
        stream.write_all(&version).await.unwrap();
        Raw(stream)
    }

    pub async fn send(&mut self, frame: &Frame) -> io::Result<()> {
        self.0.write_all(&bytes(frame)).await
    }

    /// The next message of the server; an error where it has closed the connection.
    pub async fn reply(&mut self) -> io::Result<Reply> {
        timeout(TIMEOUT, self.next())
            .await
            .expect("an answer in time")
    }

    /// The same, however long it takes.
    pub async fn next(&mut self) -> io::Result<Reply> {
        let mut header = [0; Header::BYTES];
        self.0.read_exact(&mut header).await?;
        let header = Header::decode(&header).map_err(io::Error::other)?;
        let mut body = vec![0; header.body_bytes()];
        self.0.read_exact(&mut body).await?;
        Reply::decode(&header, &body.into()).map_err(io::Error::other)
    }

    /// Sends a request that must be refused, and returns the answer.
    pub async fn refused(&mut self, frame: &Frame) -> Failure {
        self.send(frame).await.unwrap();
        match self.reply().await.unwrap() {
            Reply::Failure(failure) => failure,
            other => panic!("{frame:?} was answered with {other:?}"),
        }
    }
}

/// A request as it is sent.
pub fn bytes((kind, schema, body): &Frame) -> Vec<u8> {
    let mut frame = ((body.len() / 8) as u32).to_le_bytes().to_vec();
    frame.extend([*kind, *schema, 0, 0]);
    frame.extend(body);
    frame
}

pub fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A text as it is sent, with its NUL and zeros up to a word.
pub fn text(text: impl AsRef<[u8]>) -> Vec<u8> {
    let mut bytes = text.as_ref().to_vec();
    bytes.resize((bytes.len() / 8 + 1) * 8, 0);
    bytes
}
