//! The list of members, a removal.

use axum::extract::{Path, Request, State};
use dqlite::wire::Server;
use hyper::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    Error,
    cluster::Cluster,
    datastore::servers,
    peers::{PEER_TIMEOUT, target},
    reconcile::{self, Asked},
    rest::{
        Answered, REMOVE_TIMEOUT, Shared,
        access::{flag, only_trusted},
        answer,
    },
};

pub async fn list(State(daemon): Shared, request: Request) -> Answered {
    only_trusted(&daemon, &request)?;
    let cluster = daemon.cluster()?;
    let members = cluster.database.members().await?;
    let addresses = cluster.database.datastore_addresses().await?;
    let seen = {
        let cluster = cluster.clone();
        tokio::spawn(async move { servers::seen(&cluster).await })
    };
    let mut asked = JoinSet::new();
    for (at, mut member) in members.into_iter().enumerate() {
        let is_own = member.name == cluster.own.name;
        let target = target(&cluster, &member.address);
        asked.spawn(async move {
            let answered = is_own || {
                let path = "/core/1.0/ready";
                target
                    .call::<Value>(Method::GET, path, None, PEER_TIMEOUT)
                    .await
                    .is_ok()
            };
            member.status = if answered { "ONLINE" } else { "UNREACHABLE" }.to_owned();
            (at, member)
        });
    }
    let mut members = asked.join_all().await;
    members.sort_by_key(|(at, _)| *at);
    let servers = seen.await.unwrap_or_default();
    for (_, member) in &mut members {
        if let Some(address) = addresses.get(&member.name) {
            member.datastore_address.clone_from(address);
            member.datastore_role = datastore_role(servers.as_deref(), address);
        }
    }
    answer(
        members
            .into_iter()
            .map(|(_, member)| member)
            .collect::<Vec<_>>(),
    )
}

fn datastore_role(servers: Option<&[Server]>, address: &str) -> String {
    let Some(servers) = servers else {
        return String::new();
    };
    let server = servers.iter().find(|server| server.address == address);
    server
        .map_or("none", |server| server.role.name())
        .to_owned()
}

pub async fn remove(State(daemon): Shared, Path(name): Path<String>, request: Request) -> Answered {
    only_trusted(&daemon, &request)?;
    let asked = Asked {
        force: flag(&request, "force"),
        only_pending: flag(&request, "pending"),
    };
    let cluster = daemon.cluster()?;
    // A client that leaves does not stop it half-way.
    let removing = tokio::spawn(async move {
        match name == cluster.own.name {
            true => leave(&cluster, asked).await,
            false => reconcile::remove(&cluster, &name, asked).await,
        }
    });
    removing
        .await
        .map_err(|e| Error::Internal(e.to_string()))??;
    answer(json!({}))
}

/// Another member carries the removal out, because this node loses its trust during it.
async fn leave(cluster: &Cluster, asked: Asked) -> Result<(), Error> {
    let name = &cluster.own.name;
    let flags = (u8::from(asked.force), u8::from(asked.only_pending));
    let path = format!(
        "/core/1.0/cluster/{name}?force={}&pending={}",
        flags.0, flags.1
    );
    let mut last = Error::Conflict("Cannot leave a cluster with 1 members".to_owned());
    for other in cluster.trust.entries() {
        if other.name == *name {
            continue;
        }
        let left = target(cluster, &other.address)
            .call::<Value>(Method::DELETE, &path, None, REMOVE_TIMEOUT)
            .await;
        match left {
            // Not reached, or not ready; any other answer is that of the cluster.
            Err(error @ (Error::Unavailable(_) | Error::Late(_))) => last = error,
            Err(
                error @ Error::Refused {
                    status: 503 | 504, ..
                },
            ) => last = error,
            done => return done.map(drop),
        }
    }
    Err(last)
}
