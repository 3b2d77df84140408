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

/// Handles the leader's heartbeat, or the wish of a member for one. Only a member answers, not a node
/// whose join can still fail.
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
