//! The datastore's dqlite cluster, which is another than k8sd's: asked and changed over its own port.

use std::{sync::Arc, time::Duration};

use dqlite::{
    client::{ConnectOptions, Endpoint, LeaderConnector, Resolve},
    cluster::Nodes,
    roles::RoleTargets,
    wire::Server,
};
use tracing::{info, warn};

use super::pair;
use crate::{Error, certificate::PemPair, cluster::Cluster};

/// A healthy node connects and answers within milliseconds.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long its leader is looked for, to show who is in it: a list is read by somebody who waits.
const LIST_PATIENCE: Duration = Duration::from_secs(2);

/// The same for a change: several elections.
pub const CHANGE_PATIENCE: Duration = Duration::from_secs(8);

fn resolve(pair: &PemPair) -> Result<Resolve, Error> {
    let tls = pair::tls(pair)?;
    Ok(Arc::new(move |address: &str| Endpoint::Tls {
        address: address.to_owned(),
        tls: tls.clone(),
    }))
}

/// Who is in it, says its leader.
pub async fn list(
    pair: &PemPair,
    addresses: Vec<String>,
    patience: Duration,
) -> Result<Vec<Server>, Error> {
    let options = ConnectOptions {
        connect_timeout: ASK_TIMEOUT,
        request_timeout: ASK_TIMEOUT,
    };
    let mut connector = LeaderConnector::new(addresses, resolve(pair)?, options);
    let asked = async { connector.connect(patience).await?.cluster().await };
    asked.await.map_err(|error| {
        Error::Unavailable(format!("the datastore's leader is not reachable: {error}"))
    })
}

/// Its servers, where the cluster has one and it answers soon.
pub async fn seen(cluster: &Cluster) -> Option<Vec<Server>> {
    let addresses = cluster.database.datastore_addresses().await.ok()?;
    if addresses.is_empty() {
        return None;
    }
    let pair = cluster.database.datastore_pair().await.ok()??;
    list(&pair, addresses.into_values().collect(), LIST_PATIENCE)
        .await
        .ok()
}

/// Takes the member's server out of it. One that is not in it is no error: the same request may come again.
/// `force`: goes on where the datastore cannot be changed.
pub async fn remove_member(cluster: &Cluster, name: &str, force: bool) -> Result<(), Error> {
    let mut addresses = cluster.database.datastore_addresses().await?;
    let Some(gone) = addresses.remove(name) else {
        return Ok(());
    };
    let Some(pair) = cluster.database.datastore_pair().await? else {
        return Ok(());
    };
    // Itself last: it may be the one that is dead.
    let known: Vec<String> = addresses.into_values().chain([gone.clone()]).collect();
    match remove(&pair, known, &gone).await {
        Err(error) if force => {
            warn!(name, address = gone, %error, "the datastore may still have this node: \
                 remove it there with `etcdctl member remove` or dqlite's shell");
            Ok(())
        }
        Err(error) => Err(Error::Unavailable(format!(
            "{name} is not removed from the datastore ({error}); --force removes it from this cluster alone"
        ))),
        Ok(()) => Ok(()),
    }
}

async fn remove(pair: &PemPair, known: Vec<String>, gone: &str) -> Result<(), Error> {
    let servers = list(pair, known, CHANGE_PATIENCE).await?;
    let Some(server) = servers.iter().find(|server| server.address == gone) else {
        return Ok(());
    };
    let mut nodes = Nodes::new(&servers, resolve(pair)?, RoleTargets::default());
    dqlite::cluster::remove(&mut nodes, server.id).await?;
    info!(address = gone, "the datastore has this node no more");
    Ok(())
}
