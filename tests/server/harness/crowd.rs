//! Connections that say nothing, or only begin to.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// The beginning of a handshake.
pub const CLIENT_HELLO: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0];

/// Opens connections, and sends one of `beginnings` on each.
pub async fn crowd(port: u16, count: usize, beginnings: &[&[u8]]) -> Vec<TcpStream> {
    places::raise_open_files().unwrap();
    let mut crowd = Vec::new();
    for index in 0..count {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        // It may have been closed for a later one.
        let _ = stream.write_all(beginnings[index % beginnings.len()]).await;
        crowd.push(stream);
    }
    crowd
}
