//! The sender of a request, its body and flags.

use std::time::Duration;

use axum::extract::Request;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::{
    Error,
    daemon::{Daemon, Phase},
    rest::forbidden,
    server::Caller,
    sql::Access,
    time::now_s,
};

/// Bytes of a request, SQL scripts included.
const MAX_BODY_BYTES: usize = 16 << 20;

/// Bytes of a request of somebody who is no member yet: a certificate and some names.
const MAX_SMALL_BODY_BYTES: usize = 64 << 10;

/// A body arrives within this time.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

pub fn only_socket(request: &Request) -> Result<(), Error> {
    match request.extensions().get::<Caller>() {
        Some(Caller::Socket) => Ok(()),
        _ => Err(forbidden()),
    }
}

/// The socket, or a member.
pub fn only_trusted(daemon: &Daemon, request: &Request) -> Result<Access, Error> {
    let certificate = match request.extensions().get::<Caller>() {
        Some(Caller::Socket) => return Ok(Access::Write),
        Some(Caller::Network(Some(certificate))) => certificate,
        _ => return Err(forbidden()),
    };
    let cluster = match daemon.phase() {
        Phase::Open(cluster) | Phase::Opening(cluster) => cluster,
        _ => return Err(forbidden()),
    };
    match cluster.trust.member(certificate, now_s()) {
        Some(_) => Ok(Access::Read),
        None => Err(forbidden()),
    }
}

async fn body(request: Request, max_bytes: usize) -> Result<Bytes, Error> {
    let collected = timeout(
        BODY_TIMEOUT,
        Limited::new(request.into_body(), max_bytes).collect(),
    );
    match collected.await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Error::Refused {
            status: 413,
            message: format!("the request has more than {max_bytes} bytes"),
        }),
        Ok(Err(error)) => Err(Error::Invalid(format!("cannot read the request: {error}"))),
        Err(_) => Err(Error::Refused {
            status: 408,
            message: "the request does not arrive in time".to_owned(),
        }),
    }
}

pub async fn json_body<T: DeserializeOwned>(request: Request) -> Result<T, Error> {
    json(&body(request, MAX_BODY_BYTES).await?)
}

/// Parses the body of a request from somebody who may not be a member.
pub async fn small_body<T: DeserializeOwned>(request: Request) -> Result<T, Error> {
    json(&body(request, MAX_SMALL_BODY_BYTES).await?)
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| Error::Invalid(format!("wrong request: {error}")))
}

/// The value of a query string's pair: `id=1f`.
pub fn value<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let query = request.uri().query().unwrap_or_default();
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// Flags of a query string: `schema=1`.
pub fn flag(request: &Request, name: &str) -> bool {
    value(request, name) == Some("1")
}
