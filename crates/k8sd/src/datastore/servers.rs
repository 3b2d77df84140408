//! The datastore's dqlite cluster, which is not k8sd's own: it is asked and changed over its own port.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

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

/// The timeout of a search for the datastore's leader in order to list its servers: somebody waits for the list.
const LIST_TIMEOUT: Duration = Duration::from_secs(2);

/// The timeout of the same search for a change: several elections.
pub const CHANGE_TIMEOUT: Duration = Duration::from_secs(8);

fn resolve(pair: &PemPair) -> Result<Resolve, Error> {
    let tls = pair::tls(pair)?;
    Ok(Arc::new(move |address: &str| Endpoint::Tls {
        address: address.to_owned(),
        tls: tls.clone(),
    }))
}

/// Returns the servers of the datastore, as its leader lists them.
pub async fn list(
    pair: &PemPair,
    addresses: Vec<String>,
    timeout: Duration,
) -> Result<Vec<Server>, Error> {
    let options = ConnectOptions {
        connect_timeout: ASK_TIMEOUT,
        request_timeout: ASK_TIMEOUT,
    };
    let mut connector = LeaderConnector::new(addresses, resolve(pair)?, options);
    let asked = async { connector.connect(timeout).await?.cluster().await };
    asked.await.map_err(|error| {
        Error::Unavailable(format!("the datastore's leader is not reachable: {error}"))
    })
}

/// Returns the datastore's servers, if the cluster has a datastore and its leader answers in time.
pub async fn seen(cluster: &Cluster) -> Option<Vec<Server>> {
    let addresses = cluster.database.datastore_addresses().await.ok()?;
    if addresses.is_empty() {
        return None;
    }
    let pair = cluster.database.datastore_pair().await.ok()??;
    list(&pair, addresses.into_values().collect(), LIST_TIMEOUT)
        .await
        .ok()
}

/// Returns the differences between the members and the datastore's servers. None of them is repaired: a server without
/// a member may still become a member's.
pub async fn check(cluster: &Cluster) -> Result<Vec<String>, Error> {
    let addresses = cluster.database.datastore_addresses().await?;
    let Some(pair) = cluster.database.datastore_pair().await? else {
        return Ok(Vec::new());
    };
    let known = addresses.values().cloned().collect();
    match list(&pair, known, LIST_TIMEOUT).await {
        Ok(servers) => Ok(differences(&addresses, &servers)),
        Err(error) => Ok(vec![format!(
            "{error}. If its pair was replaced, `k8sd certs take DIR` on a member tells k8sd, DIR being the storage directory"
        )]),
    }
}

fn differences(addresses: &BTreeMap<String, String>, servers: &[Server]) -> Vec<String> {
    let has_no_server = |address: &&String| servers.iter().all(|s| s.address != **address);
    let bare = addresses.iter().filter(|(_, a)| has_no_server(a));
    let bare = bare.map(|(name, address)| {
        format!("{name} has no server in the datastore: start k8s-dqlite there, at {address}")
    });
    let has_no_member = |server: &&Server| addresses.values().all(|a| *a != server.address);
    let strange = servers.iter().filter(has_no_member).map(|server| {
        format!(
            "the datastore's server {:x} at {} belongs to no member: let its node join with its directory, or remove \
             it with `etcdctl member remove {:x}`",
            server.id, server.address, server.id
        )
    });
    bare.chain(strange).collect()
}

/// Removes the member's server from the datastore. One that it does not have is no error: the request may be a
/// repetition. `force`: goes on if the datastore cannot be changed.
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
            "{name} could not be removed from the datastore ({error}); --force removes it from this cluster only"
        ))),
        Ok(()) => Ok(()),
    }
}

async fn remove(pair: &PemPair, known: Vec<String>, gone: &str) -> Result<(), Error> {
    let servers = list(pair, known, CHANGE_TIMEOUT).await?;
    let Some(server) = servers.iter().find(|server| server.address == gone) else {
        return Ok(());
    };
    let mut nodes = Nodes::new(&servers, resolve(pair)?, RoleTargets::default());
    dqlite::cluster::remove(&mut nodes, server.id).await?;
    info!(address = gone, "the node was removed from the datastore");
    Ok(())
}

#[cfg(test)]
mod tests {
    use dqlite::wire::{NodeId, Role};

    use super::*;

    #[test]
    fn members_without_servers_and_servers_without_members_are_found() {
        let server = |id, address: &str| Server {
            id: NodeId::new(id),
            address: address.to_owned(),
            role: Role::Voter,
        };
        let member = |name: &str, address: &str| (name.to_owned(), address.to_owned());
        let addresses = BTreeMap::from([member("a", "1:1"), member("b", "2:1")]);
        let found = differences(&addresses, &[server(1, "1:1"), server(0xab, "3:1")]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("b has no server") && found[0].contains("2:1"));
        assert!(found[1].contains("server ab at 3:1"));
        let both = [server(1, "1:1"), server(2, "2:1")];
        assert!(differences(&addresses, &both).is_empty());
    }
}
