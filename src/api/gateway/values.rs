//! Cuts a request body into JSON values, as they arrive.
//!
//! Finds only where a value ends; whether it is JSON is for the parser. Bytes are looked at once,
//! however they are cut into pieces.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::Body as HttpRequestBody;
use bytes::{Bytes, BytesMut};
use http_body::Body;
use tonic::Status;

/// The factor by which JSON may be longer than its message: base64 adds a third, and the rest is
/// for names and white space.
pub const JSON_FACTOR: usize = 3;

pub struct JsonValues {
    body: HttpRequestBody,
    /// The bytes that have arrived and are not returned yet.
    buffer: BytesMut,
    scan: Scan,
    is_over: bool,
    max_value_bytes: usize,
}

impl JsonValues {
    pub fn new(body: HttpRequestBody, max_value_bytes: usize) -> Self {
        Self {
            max_value_bytes,
            body,
            buffer: BytesMut::new(),
            scan: Scan::default(),
            is_over: false,
        }
    }

    /// The bytes of the next value, or none at the end of the body.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Status>> {
        loop {
            if let Some(end) = self.scan.advance(&self.buffer) {
                self.scan = Scan::default();
                return Poll::Ready(Ok(Some(self.buffer.split_to(end).freeze())));
            }
            if self.is_over {
                return Poll::Ready(self.last());
            }
            if self.buffer.len() > self.max_value_bytes {
                return Poll::Ready(Err(Status::resource_exhausted(format!(
                    "received message larger than max ({} vs. {})",
                    self.buffer.len(),
                    self.max_value_bytes
                ))));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => {
                    return Poll::Ready(Err(Status::invalid_argument(error.to_string())));
                }
                None => self.is_over = true,
            }
        }
    }

    /// Returns the bytes that follow the last complete value.
    fn last(&mut self) -> Result<Option<Bytes>, Status> {
        let rest = std::mem::take(&mut self.buffer).freeze();
        match std::mem::take(&mut self.scan).state {
            State::Before => Ok(None),
            // Only the end of the body ends a number.
            State::Scalar => Ok(Some(rest)),
            State::Nested { .. } => Err(Status::invalid_argument("unexpected EOF")),
        }
    }
}

/// The position within a value.
#[derive(Debug, Default)]
struct Scan {
    read: usize,
    state: State,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Before,
    Nested {
        depth: usize,
        text: Text,
    },
    /// A number or a word, or what is no JSON at all.
    Scalar,
}

#[derive(Debug, Clone, Copy)]
enum Text {
    Outside,
    Inside,
    Escaped,
}

impl Scan {
    /// Returns where the value ends, if `buffer` has its end.
    fn advance(&mut self, buffer: &[u8]) -> Option<usize> {
        while let Some(&byte) = buffer.get(self.read) {
            if self.ends_before(byte) {
                return Some(self.read);
            }
            self.state = self.state.after(byte);
            self.read += 1;
            if let State::Nested {
                depth: 0,
                text: Text::Outside,
            } = self.state
            {
                return Some(self.read);
            }
        }
        None
    }

    fn ends_before(&self, byte: u8) -> bool {
        let is_scalar = matches!(self.state, State::Scalar);
        is_scalar && (byte.is_ascii_whitespace() || matches!(byte, b'{' | b'[' | b'"'))
    }
}

impl State {
    fn after(self, byte: u8) -> Self {
        let nested = |depth, text| Self::Nested { depth, text };
        match self {
            Self::Before | Self::Scalar => match byte {
                b'{' | b'[' => nested(1, Text::Outside),
                b'"' => nested(0, Text::Inside),
                byte if byte.is_ascii_whitespace() => self,
                _ => Self::Scalar,
            },
            Self::Nested { depth, text } => match (text, byte) {
                (Text::Outside, b'{' | b'[') => nested(depth + 1, text),
                (Text::Outside, b'}' | b']') => nested(depth.saturating_sub(1), text),
                (Text::Outside, b'"') => nested(depth, Text::Inside),
                (Text::Inside, b'"') => nested(depth, Text::Outside),
                (Text::Inside, b'\\') => nested(depth, Text::Escaped),
                (Text::Escaped, _) => nested(depth, Text::Inside),
                _ => self,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tonic::Code;

    use super::*;

    const MAX_VALUE_BYTES: usize = 1024 * 1024;

    async fn cut(text: &str, piece_bytes: usize) -> (Vec<String>, Option<Status>) {
        let pieces: Vec<Result<Bytes, std::io::Error>> = text
            .as_bytes()
            .chunks(piece_bytes)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        let mut values = JsonValues::new(
            HttpRequestBody::from_stream(tokio_stream::iter(pieces)),
            MAX_VALUE_BYTES,
        );
        let mut found = Vec::new();
        loop {
            match poll_fn(|context| values.poll_next(context)).await {
                Ok(Some(value)) => found.push(String::from_utf8(value.to_vec()).unwrap()),
                Ok(None) => return (found, None),
                Err(status) => return (found, Some(status)),
            }
        }
    }

    #[tokio::test]
    async fn values_are_found_however_the_body_is_cut() {
        let text = r#"{"a":"}\"{"} [1,{"b":[]}]{}  "x\\" 12 nul {"c":1}"#;
        let expected = [
            r#"{"a":"}\"{"}"#,
            r#" [1,{"b":[]}]"#,
            "{}",
            r#"  "x\\""#,
            " 12",
            " nul",
            r#" {"c":1}"#,
        ];
        for piece_bytes in 1..=text.len() {
            let (values, error) = cut(text, piece_bytes).await;
            assert_eq!(values, expected, "in pieces of {piece_bytes}");
            assert!(error.is_none());
        }
    }

    #[tokio::test]
    async fn a_truncated_value_is_an_error_and_an_empty_body_is_not() {
        for text in ["{", r#"{"a":"#, "[{}", r#""abc"#, r#"{} {"a"#] {
            let (_, error) = cut(text, 2).await;
            assert_eq!(error.unwrap().message(), "unexpected EOF", "{text}");
        }
        for text in ["", " \n\t"] {
            let (values, error) = cut(text, 2).await;
            assert!(values.is_empty() && error.is_none());
        }
    }

    #[tokio::test]
    async fn a_value_has_a_largest_size() {
        let text = format!("[{}", " ".repeat(MAX_VALUE_BYTES + 1));
        let (_, error) = cut(&text, 64 * 1024).await;
        assert_eq!(error.unwrap().code(), Code::ResourceExhausted);
    }
}
