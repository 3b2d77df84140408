//! Requests to a daemon: over its socket, to a member, or to a server whose certificate has a known fingerprint.

use std::{
    io::{self, ErrorKind},
    path::PathBuf,
    pin::Pin,
    time::Duration,
};

use bytes::Bytes;
use dqlite::tls::{ClientOptions, Tls, TlsVersion, first_dns_name};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use nix::errno::Errno;
use openssl::{
    pkey::PKey,
    ssl::{Ssl, SslContext, SslMethod, SslVerifyMode, SslVersion},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_openssl::SslStream;

use crate::{
    Error, api,
    certificate::{PemPair, fingerprint, parse},
    state::StateDir,
};

/// The timeout of a connection, its handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest answer, in bytes: the rows of a query.
const MAX_ANSWER_BYTES: usize = 1 << 30;

/// The server that a request goes to.
#[derive(Clone)]
pub enum Target {
    Socket(PathBuf),
    Member {
        address: String,
        tls: Tls,
    },
    /// The server's certificate is known by its fingerprint alone.
    Pinned {
        address: String,
        context: SslContext,
    },
}

/// Returns the TLS options with which a member speaks to the others: it shows its own certificate and trusts the
/// cluster's.
pub fn member_tls(state: &StateDir) -> Result<Tls, Error> {
    let (server_pair, cluster_pair) = (state.pair("server"), state.pair("cluster"));
    Ok(Tls::load_client(&ClientOptions {
        server_name: first_dns_name(&cluster_pair.0)?,
        certificate: server_pair.0,
        key: server_pair.1,
        ca: Some(cluster_pair.0),
        min_version: TlsVersion::Tls13,
    })?)
}

/// Returns the TLS context with which a node that is no member yet speaks to a member, whose certificate has the
/// fingerprint `expected`.
pub fn pinned(own: &PemPair, expected: &str) -> Result<SslContext, Error> {
    let mut context = SslContext::builder(SslMethod::tls_client())?;
    context.set_min_proto_version(Some(SslVersion::TLS1_3))?;
    context.set_certificate(&*parse(&own.certificate)?)?;
    context.set_private_key(&*PKey::private_key_from_pem(own.key.as_bytes())?)?;
    let expected = expected.to_ascii_lowercase();
    context.set_verify_callback(SslVerifyMode::PEER, move |_, chain| {
        let Some(shown) = chain.current_cert() else {
            return false;
        };
        // What signed it does not matter.
        chain.error_depth() > 0
            || fingerprint(&shown.to_owned()).is_ok_and(|shown| shown == expected)
    });
    Ok(context.build())
}

impl Target {
    /// Sends a request and returns the content of the answer.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        timeout: Duration,
    ) -> Result<T, Error> {
        let asked = self.ask(&method, path, body);
        let Ok(answer) = tokio::time::timeout(timeout, asked).await else {
            let late = io::ErrorKind::TimedOut.into();
            return Err(Error::Late(self.failed(&method, path, &late)));
        };
        let answer = answer.map_err(|error| self.unanswered(&method, path, &error))?;
        api::open(&answer)
    }

    async fn ask(&self, method: &Method, path: &str, body: Option<&Value>) -> io::Result<Vec<u8>> {
        let connecting = async {
            match self {
                Self::Socket(path) => {
                    let stream = UnixStream::connect(path).await?;
                    Ok::<_, io::Error>(Box::new(stream) as Box<dyn Stream>)
                }
                Self::Member { address, tls } => {
                    let stream = TcpStream::connect(address).await?;
                    Ok(Box::new(tls.connect(host(address), stream).await?) as Box<dyn Stream>)
                }
                Self::Pinned { address, context } => {
                    let stream = TcpStream::connect(address).await?;
                    let mut stream = SslStream::new(Ssl::new(context)?, stream)?;
                    let shaken = Pin::new(&mut stream).connect().await;
                    shaken.map_err(|_| {
                        io::Error::other("the server is not the one that the join token names")
                    })?;
                    Ok(Box::new(stream) as Box<dyn Stream>)
                }
            }
        };
        let connected = timeout(CONNECT_TIMEOUT, connecting).await;
        let stream = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let connection = tokio::spawn(connection);
        let bytes = body
            .map(|body| Bytes::from(body.to_string()))
            .unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.host())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(bytes))
            .map_err(io::Error::other)?;
        let answer = async {
            let answer = sender
                .send_request(request)
                .await
                .map_err(io::Error::other)?;
            let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES)
                .collect()
                .await;
            Ok(body.map_err(io::Error::other)?.to_bytes().to_vec())
        }
        .await;
        connection.abort();
        answer
    }

    fn unanswered(&self, method: &Method, path: &str, error: &io::Error) -> Error {
        let text = self.failed(method, path, error);
        match (self, error.kind()) {
            (Self::Socket(_), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                Error::NoDaemon(text)
            }
            (Self::Socket(_), ErrorKind::PermissionDenied) => Error::Forbidden(text),
            _ => Error::Unavailable(text),
        }
    }

    fn host(&self) -> &str {
        match self {
            Self::Socket(_) => "control.socket",
            Self::Member { address, .. } | Self::Pinned { address, .. } => address,
        }
    }

    /// Returns the error text of the original, which scripts look for.
    fn failed(&self, method: &Method, path: &str, error: &io::Error) -> String {
        let verb = match method.as_str() {
            "GET" => "Get",
            "POST" => "Post",
            "PUT" => "Put",
            "DELETE" => "Delete",
            other => other,
        };
        let reason = match error.raw_os_error() {
            Some(code) => format!("connect: {}", Errno::from_raw(code).desc().to_lowercase()),
            None => error.to_string(),
        };
        match self {
            Self::Socket(socket) => format!(
                "{verb} \"http://control.socket{path}\": dial unix {}: {reason}",
                socket.display()
            ),
            Self::Member { address, .. } | Self::Pinned { address, .. } => {
                format!("{verb} \"https://{address}{path}\": {reason}")
            }
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

fn host(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}
