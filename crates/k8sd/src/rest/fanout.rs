//! Telling the other members that trust has changed.

use axum::extract::{Request, State};
use hyper::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tracing::warn;

use crate::{
    client::Target,
    cluster::Cluster,
    rest::{Answered, PEER_TIMEOUT, Shared, access::only_trusted, answer},
};

/// Those that are not reached learn it with their next look at the members.
pub async fn tell_others(cluster: &Cluster, method: Method, path: &str, body: Value) {
    let mut told = JoinSet::new();
    for other in cluster.trust.entries() {
        if other.name == cluster.own.name
            || body.get("name").is_some_and(|name| *name == other.name)
        {
            continue;
        }
        let target = Target::Member {
            address: other.address.clone(),
            tls: cluster.tls.clone(),
        };
        let (method, path, body) = (method.clone(), path.to_owned(), body.clone());
        told.spawn(async move {
            if let Err(error) = target
                .call::<Value>(method, &path, Some(&body), PEER_TIMEOUT)
                .await
            {
                warn!(member = other.name, %error, "a member is not told of a change");
            }
        });
    }
    told.join_all().await;
}

/// Whom to trust has changed. What the request says is not believed: the rows are read.
pub async fn heard(State(daemon): Shared, request: Request) -> Answered {
    only_trusted(&daemon, &request)?;
    daemon.cluster()?.look().await?;
    answer(json!({}))
}
