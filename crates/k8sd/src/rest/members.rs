//! The list of members, a removal.

use axum::extract::{Path, Request, State};
use dqlite::wire::Server;
use hyper::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::{
    Error,
    client::Target,
    cluster::Cluster,
    database::role_name,
    datastore::servers,
    rest::{
        Answered, PEER_TIMEOUT, Shared,
        access::{flag, only_trusted},
        answer,
        fanout::tell_others,
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
        let (tls, is_own) = (cluster.tls.clone(), member.name == cluster.own.name);
        asked.spawn(async move {
            let target = Target::Member {
                address: member.address.clone(),
                tls,
            };
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
    server.map_or("none", role_name).to_owned()
}

/// The datastore first, then dqlite, then the row, then trust, then the node itself: what a crash leaves in between is a row
/// without a server, which `check` finds and the same request completes.
pub async fn remove(State(daemon): Shared, Path(name): Path<String>, request: Request) -> Answered {
    only_trusted(&daemon, &request)?;
    let force = flag(&request, "force");
    let cluster = daemon.cluster()?;
    let removing = tokio::spawn(async move { remove_member(&cluster, &name, force).await });
    removing
        .await
        .map_err(|e| Error::Internal(e.to_string()))??;
    answer(json!({}))
}

async fn remove_member(cluster: &Cluster, name: &str, force: bool) -> Result<(), Error> {
    let members = cluster.database.members().await?;
    let Some(gone) = members.iter().find(|member| member.name == name) else {
        return Err(Error::NotFound(format!(
            "No cluster member exists with the given name {name:?}"
        )));
    };
    if members.len() < 2 {
        return Err(Error::Conflict(
            "Cannot leave a cluster with 1 members".to_owned(),
        ));
    }
    let target = Target::Member {
        address: gone.address.clone(),
        tls: cluster.tls.clone(),
    };
    let ready = target
        .call::<Value>(Method::GET, "/core/1.0/ready", None, PEER_TIMEOUT)
        .await;
    if let Err(error) = &ready
        && !force
    {
        return Err(Error::Unavailable(format!(
            "{name} is not reachable, and would not notice that it is removed ({error}); --force removes it"
        )));
    }
    servers::remove_member(cluster, name, force).await?;
    let mut nodes = cluster.nodes();
    let servers = nodes.leader().await?.cluster().await?;
    if let Some(server) = servers.iter().find(|server| server.address == gone.address) {
        dqlite::cluster::remove(&mut nodes, server.id).await?;
    }
    cluster.database.remove_member(name).await?;
    let path = format!("/core/internal/cluster/{name}?force=1");
    let reset = target
        .call::<Value>(Method::PUT, &path, None, PEER_TIMEOUT)
        .await;
    if let Err(error) = reset {
        warn!(name, %error, "the removed node does not know it yet");
    }
    if name != cluster.own.name {
        cluster.trust.remove(name)?;
        let path = format!("/core/internal/truststore/{name}");
        tell_others(cluster, Method::DELETE, &path, json!({})).await;
    }
    info!(name, "a member is removed");
    Ok(())
}
