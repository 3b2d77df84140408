//! The change of a connection from HTTP to dqlite's protocol.

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use hyper_util::rt::TokioIo;
use serde_json::json;

use crate::{
    Error,
    cluster::Cluster,
    daemon::Phase,
    rest::{Answered, Shared, access::only_trusted, answer, forbidden},
    server::Caller,
    time::now_s,
};

pub async fn nothing(State(daemon): Shared, request: Request) -> Answered {
    only_trusted(&daemon, &request)?;
    answer(json!({}))
}

/// Changes a connection from HTTP to dqlite's protocol.
pub async fn database(State(daemon): Shared, mut request: Request) -> Answered {
    only_trusted(&daemon, &request)?;
    check_upgrade(request.headers())?;
    let cluster = match daemon.phase() {
        Phase::Open(cluster) | Phase::Opening(cluster) => cluster,
        _ => return Err(forbidden()),
    };
    let upgrading = hyper::upgrade::on(&mut request);
    let (engine, stopped) = (cluster.engine.clone(), cluster.stopped());
    let cluster_id = cluster.cluster_id.clone();
    let peer = peer_of(&cluster, &request);
    tokio::spawn(async move {
        let Ok(stream) = upgrading.await else { return };
        let serving =
            dqlite::proxy::serve_engine(TokioIo::new(stream), &engine, &cluster_id, &peer);
        tokio::select! {
            ended = serving => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection to dqlite ended");
                }
            }
            () = stopped => {}
        }
    });
    let answer = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::UPGRADE, "dqlite")
        .body(Body::empty());
    answer.map_err(|error| Error::Internal(error.to_string()))
}

/// The name of the member that asks, for the log.
fn peer_of(cluster: &Cluster, request: &Request) -> String {
    let name = match request.extensions().get::<Caller>() {
        Some(Caller::Network(Some(certificate))) => cluster.trust.member(certificate, now_s()),
        _ => None,
    };
    name.unwrap_or_default()
}

fn check_upgrade(headers: &HeaderMap) -> Result<(), Error> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(version) = text("x-dqlite-version")
        && version.parse::<u64>().is_err()
    {
        return Err(Error::Invalid(format!("Invalid dqlite version: {version}")));
    }
    match text("upgrade") {
        Some("dqlite") => Ok(()),
        _ => Err(Error::Invalid(
            "Missing or invalid upgrade header".to_owned(),
        )),
    }
}
