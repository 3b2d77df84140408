//! Compressed messages, by the rules of grpc-go: gzip is taken, and who sends it gets it
//! (`server.go`, `processRPC`). etcd knows gzip because its exporter of
//! traces brings it.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message;
use tonic::{Response, Status, metadata::MetadataMap};

use super::status::check_sent;

const ENCODING: &str = "grpc-encoding";
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const GZIP: &str = "gzip";

/// The largest answer that is compressed, in bytes: it is compressed at once, which takes a thread
/// about 20 ms, and others wait meanwhile. A larger one goes as it is, which gRPC allows.
const MAX_COMPRESSED_BYTES: usize = 1024 * 1024;

/// Lets a service take gzip, and send it to whoever accepts it.
macro_rules! with_gzip {
    ($server:expr) => {
        $server
            .accept_compressed(tonic::codec::CompressionEncoding::Gzip)
            .send_compressed(tonic::codec::CompressionEncoding::Gzip)
    };
}
pub(super) use with_gzip;

/// Makes the client of a call accept what it sends. tonic compresses for all who accept it, which is
/// every client in Go that has a codec at hand, without having asked for it.
pub fn accept_as_sent(headers: &mut HeaderMap) {
    let sends_gzip = headers.get(ENCODING).is_some_and(|sent| sent == GZIP);
    headers.remove(&ACCEPT_ENCODING);
    if sends_gzip {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(GZIP));
    }
}

/// Returns whether the messages of a call are compressed.
pub fn is_compressed(metadata: &MetadataMap) -> bool {
    metadata.contains_key(ENCODING)
}

/// Returns the answer, which may have any size, to a call whose messages may be compressed.
pub fn answer<T: Message>(message: T, is_compressed: bool) -> Result<Response<T>, Status> {
    let size_bytes = message.encoded_len();
    check_sent(size_bytes)?;
    let mut response = Response::new(message);
    if is_compressed && size_bytes > MAX_COMPRESSED_BYTES {
        response.disable_compression();
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(sent: &[(&'static str, &'static str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        accept_as_sent(&mut headers);
        let accepted = headers.get(ACCEPT_ENCODING)?;
        Some(accepted.to_str().unwrap().to_owned())
    }

    #[test]
    fn who_sends_gzip_gets_it_and_nobody_else() {
        let accepts = ("grpc-accept-encoding", "gzip,deflate");
        assert_eq!(accepted(&[]), None);
        assert_eq!(accepted(&[accepts]), None);
        assert_eq!(accepted(&[accepts, (ENCODING, "identity")]), None);
        assert_eq!(accepted(&[accepts, (ENCODING, "deflate")]), None);
        assert_eq!(accepted(&[(ENCODING, "gzip")]).unwrap(), "gzip");
        assert_eq!(accepted(&[accepts, (ENCODING, "gzip")]).unwrap(), "gzip");
    }
}
