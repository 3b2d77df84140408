//! The change from HTTP to dqlite's protocol on one connection.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest head of an answer, in bytes: microcluster's has 60, a refusal's some hundred.
const MAX_HEAD_BYTES: usize = 8 * 1024;

const PROTOCOL: &str = "dqlite";
const PROTOCOL_VERSION: u32 = 1;

/// Asks for the protocol. The server does not speak it first, so no byte after the head is lost.
pub(super) async fn upgrade<S>(stream: &mut S, host: &str, path: &str) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: {PROTOCOL}\r\n\
         X-Dqlite-Version: {PROTOCOL_VERSION}\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_HEAD_BYTES {
            return Err(refused("the head of its answer is too long"));
        }
        head.push(stream.read_u8().await?);
    }
    check(&String::from_utf8_lossy(&head))
}

fn check(head: &str) -> io::Result<()> {
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("101") {
        return Err(refused(status));
    }
    let upgraded = lines
        .filter_map(|line| line.split_once(':'))
        .any(|(name, value)| {
            name.eq_ignore_ascii_case("upgrade") && value.trim().eq_ignore_ascii_case(PROTOCOL)
        });
    if !upgraded {
        return Err(refused("its answer does not name the dqlite protocol"));
    }
    Ok(())
}

fn refused(reason: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionRefused,
        format!("the HTTP server gives no connection to dqlite: {reason}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_follows_the_head_is_left_in_the_stream() {
        let (mut client, mut server) = tokio::io::duplex(1024);
        let serve = async {
            let mut request = vec![0; 1024];
            let len = server.read(&mut request).await.unwrap();
            let request = String::from_utf8(request[..len].to_vec()).unwrap();
            assert!(request.starts_with("POST /core/internal/database HTTP/1.1\r\n"));
            for line in [
                "Host: 10.0.0.1:6400",
                "Upgrade: dqlite",
                "X-Dqlite-Version: 1",
            ] {
                assert!(request.contains(line), "{request}");
            }
            let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: dqlite\r\n\r\nrest";
            server.write_all(answer).await.unwrap();
        };
        let ask = upgrade(&mut client, "10.0.0.1:6400", "/core/internal/database");
        let ((), asked) = tokio::join!(serve, ask);
        asked.unwrap();
        let mut rest = [0; 4];
        client.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"rest");
    }

    #[test]
    fn a_refusal_is_told() {
        let error = check("HTTP/1.1 403 Forbidden\r\n\r\n").unwrap_err();
        assert!(error.to_string().contains("403 Forbidden"));
        assert!(check("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n").is_err());
        assert!(check("HTTP/1.1 101 X\r\nupgrade: DQLITE\r\n\r\n").is_ok());
    }
}
