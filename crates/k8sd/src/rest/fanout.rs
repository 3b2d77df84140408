//! Messages from other members. None of them is trusted: the rows are read.

use axum::extract::{Request, State};
use serde_json::{Value, json};

use crate::{
    Error,
    rest::{
        Answered, Shared,
        access::{json_body, only_trusted},
        answer,
    },
};

/// Handles the message that the set of trusted members has changed.
pub async fn heard(State(daemon): Shared, request: Request) -> Answered {
    only_trusted(&daemon, &request)?;
    daemon.cluster()?.refresh_trust().await?;
    answer(json!({}))
}

/// A round of the leader, or a member that wants one. Who answers is a member for good: a join that can still
/// fail is not over.
pub async fn heartbeat(State(daemon): Shared, request: Request) -> Answered {
    only_trusted(&daemon, &request)?;
    let _: Value = json_body(request).await?;
    let cluster = daemon.cluster()?;
    if !daemon.is_member()? {
        return Err(Error::Unavailable("Daemon is not ready yet".to_owned()));
    }
    cluster.asked.notify_one();
    answer(json!({}))
}
