//! Who a request comes from, its body and flags.

use std::time::Duration;

use axum::extract::Request;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
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

async fn body(request: Request) -> Result<Bytes, Error> {
    let collected = timeout(
        BODY_TIMEOUT,
        Limited::new(request.into_body(), MAX_BODY_BYTES).collect(),
    );
    match collected.await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) => Err(Error::Invalid(format!("cannot read the request: {error}"))),
        Err(_) => Err(Error::Invalid(
            "the request does not arrive in time".to_owned(),
        )),
    }
}

pub async fn json_body<T: DeserializeOwned>(request: Request) -> Result<T, Error> {
    let body = body(request).await?;
    serde_json::from_slice(&body).map_err(|error| Error::Invalid(format!("wrong request: {error}")))
}

/// Flags of a query string: `schema=1`.
pub fn flag(request: &Request, name: &str) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').any(|pair| pair == format!("{name}=1"))
}
