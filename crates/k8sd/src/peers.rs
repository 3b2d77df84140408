//! Asking the other members.

use std::time::Duration;

use hyper::Method;
use serde_json::Value;
use stopping::warn;
use tokio::task::JoinSet;
use tracing::debug;

use crate::{client::Target, cluster::Cluster};

/// One question to another member.
pub const PEER_TIMEOUT: Duration = Duration::from_secs(5);

pub const HEARTBEAT_PATH: &str = "/core/internal/heartbeat";

/// A member at this address.
pub fn target(cluster: &Cluster, address: &str) -> Target {
    Target::Member {
        address: address.to_owned(),
        tls: cluster.tls.clone(),
    }
}

/// Tells all trusted members but this node and the one that the body names. Those that cannot be reached
/// notice it when they next read the members.
pub async fn tell_others(cluster: &Cluster, method: Method, path: &str, body: Value) {
    let mut told = JoinSet::new();
    for other in cluster.trust.entries() {
        if other.name == cluster.own.name
            || body.get("name").is_some_and(|name| *name == other.name)
        {
            continue;
        }
        let target = target(cluster, &other.address);
        let (method, path, body) = (method.clone(), path.to_owned(), body.clone());
        told.spawn(async move {
            if let Err(error) = target
                .call::<Value>(method, &path, Some(&body), PEER_TIMEOUT)
                .await
            {
                warn!(member = other.name, %error, "could not tell a member of a change");
            }
        });
    }
    told.join_all().await;
}

/// Sends a heartbeat to these members, given by name and address, and returns the names of those that answer: their
/// database is open, and their directory says that they are members.
pub async fn beat(cluster: &Cluster, members: Vec<(String, String)>, body: &Value) -> Vec<String> {
    let mut asked = JoinSet::new();
    for (name, address) in members {
        let (target, body) = (target(cluster, &address), body.clone());
        asked.spawn(async move {
            let beat = target
                .call::<Value>(Method::POST, HEARTBEAT_PATH, Some(&body), PEER_TIMEOUT)
                .await;
            beat.map_err(|error| debug!(name, %error, "no answer to a heartbeat"))
                .ok()
                .map(|_| name)
        });
    }
    asked.join_all().await.into_iter().flatten().collect()
}
