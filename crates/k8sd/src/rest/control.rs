//! Bootstrap, join, stop; the node itself.

use std::time::Duration;

use axum::extract::{Path, Request, State};
use serde_json::json;
use tracing::warn;

use crate::{
    Error,
    daemon::about as about_node,
    rest::{
        Answered, Shared,
        access::{json_body, only_socket, only_trusted},
        answer,
    },
};

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

/// This node was removed.
pub async fn reset(State(daemon): Shared, Path(name): Path<String>, request: Request) -> Answered {
    only_trusted(&daemon, &request)?;
    let cluster = daemon.cluster()?;
    if cluster.own.name != name {
        return Err(Error::Invalid(format!("this node is {}", cluster.own.name)));
    }
    // After the answer: the connection ends with the cluster.
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if let Err(error) = daemon.reset(cluster).await {
            warn!(%error, "the state directory is not reset");
        }
    });
    answer(json!({}))
}
