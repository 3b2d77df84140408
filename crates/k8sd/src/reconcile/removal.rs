//! Removing a member, in steps of which each may be repeated.
//!
//! The journal first: from then on the removal comes to its end, whoever is killed. Then the datastore's server, that
//! of k8sd's dqlite, the row, trust, the node itself, and the entry in the journal. Invariant: no step harms a node
//! that was let in under the same name since: the server goes by its id, the row by the removal's nonce, the node by
//! its id.

use std::time::Duration;

use dqlite::cluster::ClusterError;
use hyper::Method;
use serde_json::{Value, json};
use stopping::warn;
use tracing::info;

use crate::{
    Error,
    client::Target,
    cluster::Cluster,
    datastore::servers,
    failpoint::fail_at,
    peers::{PEER_TIMEOUT, target, tell_others},
    plan::Removal,
    time::now_s,
    token::new_secret,
};

/// The time for which an unreachable node is tried again, to tell it that it was removed: it may be down for a repair.
const TELLING: Duration = Duration::from_secs(24 * 3600);

/// The conditions under which the caller wants a removal.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Removes the member even if it is not reachable.
    pub force: bool,
    /// Removes the member only if it is still pending.
    pub only_pending: bool,
}

pub async fn remove(cluster: &Cluster, name: &str, asked: Asked) -> Result<(), Error> {
    let records = cluster.database.records().await?;
    let members = &records.members;
    let Some(gone) = members.iter().find(|record| record.member.name == name) else {
        return Err(Error::NotFound(format!(
            "No cluster member exists with the given name {name:?}"
        )));
    };
    if members.len() < 2 {
        return Err(Error::Conflict(
            "Cannot leave a cluster with 1 members".to_owned(),
        ));
    }
    let address = gone.member.address.clone();
    if !asked.force {
        reachable(&target(cluster, &address), name).await?;
    }
    let servers = cluster.nodes().leader().await?.cluster().await?;
    let server = servers.iter().find(|server| server.address == address);
    let removal = Removal {
        name: name.to_owned(),
        address,
        server: server.map(|server| server.id),
        force: asked.force,
        nonce: new_secret(),
        started_s: now_s(),
    };
    if !cluster
        .database
        .begin_removal(&removal, asked.only_pending)
        .await?
    {
        return Err(Error::Conflict(format!(
            "{name} has become a member meanwhile"
        )));
    }
    fail_at("begun");
    let removals = cluster.removals.lock().await;
    let done = match servers::remove_member(cluster, name, asked.force).await {
        Ok(()) => remove_server(cluster, &removal).await,
        // The words say what to do about it.
        error => error,
    };
    drop(removals);
    if let Err(error) = done {
        return give_up(cluster, &removal, error).await;
    }
    carry_on(cluster, &removal).await.map_err(|error| {
        Error::Unavailable(format!(
            "the removal of {name} has begun and goes on by itself: {error}"
        ))
    })
}

/// The member stays, unless dqlite may have lost its server by now.
async fn give_up(cluster: &Cluster, removal: &Removal, error: Error) -> Result<(), Error> {
    use ClusterError::{Client, TimedOut, Unsettled};
    if let Error::Cluster(Client(_) | TimedOut(_) | Unsettled(_)) = error {
        return Err(Error::Unavailable(format!(
            "the removal of {} has begun and goes on by itself: {error}",
            removal.name
        )));
    }
    cluster.database.end_removal(removal).await?;
    Err(error)
}

async fn reachable(target: &Target, name: &str) -> Result<(), Error> {
    let path = "/core/1.0/ready";
    let ready = target
        .call::<Value>(Method::GET, path, None, PEER_TIMEOUT)
        .await;
    ready.map(drop).map_err(|error| {
        Error::Unavailable(format!(
            "{name} cannot be reached, and would not notice that it was removed ({error}); --force removes it"
        ))
    })
}

/// Carries a removal on to its end, from the step that it has reached.
pub async fn carry_on(cluster: &Cluster, removal: &Removal) -> Result<(), Error> {
    let _alone = cluster.removals.lock().await;
    if !cluster.database.is_current(removal).await? {
        // Its name may be another node's by now.
        return Ok(());
    }
    servers::remove_member(cluster, &removal.name, removal.force).await?;
    fail_at("datastore");
    remove_server(cluster, removal).await?;
    fail_at("server");
    cluster.database.remove_member(removal).await?;
    fail_at("row");
    let name = &removal.name;
    if *name == cluster.own.name {
        // The next leader does the rest: nobody believes this node any more.
        return Ok(());
    }
    cluster.refresh_trust().await?;
    let path = format!("/core/internal/truststore/{name}");
    tell_others(cluster, Method::DELETE, &path, json!({"name": name})).await;
    fail_at("told");
    tell(cluster, removal).await
}

/// Takes the last steps: tells the node itself, and deletes the entry in the journal.
pub async fn tell(cluster: &Cluster, removal: &Removal) -> Result<(), Error> {
    if reset(cluster, removal).await {
        fail_at("reset");
        cluster.database.end_removal(removal).await?;
        info!(name = removal.name, "a member was removed");
    }
    Ok(())
}

async fn remove_server(cluster: &Cluster, removal: &Removal) -> Result<(), Error> {
    let Some(id) = removal.server else {
        // One that comes after this look is found without a row.
        return Ok(());
    };
    match dqlite::cluster::remove(&mut cluster.nodes(), id).await {
        Ok(_) | Err(ClusterError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Tells the node that it was removed. Returns whether that is done: it has answered, or the time for it is over.
async fn reset(cluster: &Cluster, removal: &Removal) -> bool {
    let name = &removal.name;
    let id = removal.server.map(|id| format!("&id={id:x}"));
    let id = id.unwrap_or_default();
    let path = format!("/core/internal/cluster/{name}?force=1{id}");
    let told = target(cluster, &removal.address)
        .call::<Value>(Method::PUT, &path, None, PEER_TIMEOUT)
        .await;
    match told {
        Ok(_) => true,
        // Another life of it, or another node at its address.
        Err(Error::Refused {
            status: 400..=499, ..
        }) => true,
        Err(error) => {
            let since_s = now_s() - removal.started_s;
            let is_over = since_s.unsigned_abs() > TELLING.as_secs();
            if is_over {
                warn!(name, %error, "the removed node could not be told that it was removed; empty its state directory");
            }
            is_over
        }
    }
}
