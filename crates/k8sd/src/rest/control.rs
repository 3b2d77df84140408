//! Bootstrap, join, stop; the node itself.

use std::time::Duration;

use axum::{
    extract::{Path, Request, State},
    http::{HeaderValue, header},
};
use dqlite::wire::NodeId;
use serde_json::json;
use tracing::warn;

use crate::{
    Error,
    daemon::{Phase, about as about_node},
    rest::{
        Answered, Shared,
        access::{json_body, only_socket, only_trusted, value},
        answer,
    },
    server::ConnectionEnd,
};

/// The time that a client has to take an answer and close.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

pub async fn control(State(daemon): Shared, request: Request) -> Answered {
    only_socket(&request)?;
    let control = json_body(request).await?;
    // A client that leaves does not stop a change half-way.
    let changing = tokio::spawn(async move { daemon.control(control).await });
    changing
        .await
        .map_err(|e| Error::Internal(e.to_string()))??;
    answer(json!({}))
}

pub async fn shutdown(State(daemon): Shared, request: Request) -> Answered {
    only_socket(&request)?;
    daemon.ask_shutdown();
    answer(json!({}))
}

pub async fn about(State(daemon): Shared, request: Request) -> Answered {
    only_trusted(&daemon, &request)?;
    answer(about_node(&daemon.cluster()?.own))
}

pub async fn ready(State(daemon): Shared, request: Request) -> Answered {
    only_trusted(&daemon, &request)?;
    match daemon.cluster() {
        Ok(_) => answer(json!({})),
        Err(_) => Err(Error::Unavailable("Daemon is not ready yet".to_owned())),
    }
}

/// Handles the message that this node was removed. `id` is the id in dqlite of the removed node; this one may be
/// another by now.
pub async fn reset(State(daemon): Shared, Path(name): Path<String>, request: Request) -> Answered {
    only_trusted(&daemon, &request)?;
    let (Phase::Open(cluster) | Phase::Opening(cluster)) = daemon.phase() else {
        return Err(Error::Unavailable("Daemon is not ready yet".to_owned()));
    };
    if cluster.own.name != name {
        return Err(Error::Invalid(format!("this node is {}", cluster.own.name)));
    }
    let id = value(&request, "id").map(|id| u64::from_str_radix(id, 16).map(NodeId::new));
    if id.is_some_and(|id| id != Ok(cluster.identity.id)) {
        return Err(Error::Conflict(
            "this node has become a member anew since".to_owned(),
        ));
    }
    let ended = request.extensions().get::<ConnectionEnd>().cloned();
    tokio::spawn(async move {
        // The answer's connection ends with the cluster.
        if let Some(ended) = ended {
            ended.wait(ANSWER_TIMEOUT).await;
        }
        if let Err(error) = daemon.reset(cluster).await {
            warn!(%error, "the state directory is not reset");
        }
    });
    let mut answer = answer(json!({}))?;
    let close = HeaderValue::from_static("close");
    answer.headers_mut().insert(header::CONNECTION, close);
    Ok(answer)
}
