//! A small HTTP/1 client.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::TIMEOUT;

/// An answer, with all headers but the date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    pub status: u16,
    /// Names in lower case, sorted.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl HttpAnswer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Sends one request without a body and reads until the server closes.
pub async fn http_over(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    method: &str,
    path: &str,
) -> HttpAnswer {
    try_http_over(stream, method, path)
        .await
        .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

/// An error if the connection ends without an answer.
pub async fn try_http_over(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    method: &str,
    path: &str,
) -> io::Result<HttpAnswer> {
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut bytes = Vec::new();
    let exchange = async {
        stream.write_all(request.as_bytes()).await?;
        // A reset after the answer is an end, too.
        match stream.read_to_end(&mut bytes).await {
            Err(error) if bytes.is_empty() => Err(error),
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    };
    tokio::time::timeout(TIMEOUT, exchange)
        .await
        .unwrap_or_else(|_| panic!("{method} {path}: no answer within {TIMEOUT:?}"))?;
    Ok(parse(&String::from_utf8(bytes).unwrap()))
}

fn parse(text: &str) -> HttpAnswer {
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no HTTP: {text:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let mut headers: Vec<_> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .filter(|(name, _)| name != "date" && name != "connection")
        .collect();
    headers.sort();
    HttpAnswer {
        status: status.parse().unwrap(),
        headers,
        body: body.to_owned(),
    }
}
