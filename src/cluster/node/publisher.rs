//! Tells the cluster the URLs under which clients reach this node, and has the leader forget those of
//! nodes that are gone. The cluster stores them, so that every node lists them while this one is down.

use std::time::Duration;

use tokio::time::sleep;
use tracing::{debug, info};

use super::Membership;
use crate::store::Store;

/// The pause between two looks at what is stored: for a database that had no room for it yet, and
/// for nodes that were removed.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// The pause after a request that failed: there may be an election.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

pub struct Publisher {
    pub store: Store,
    pub membership: Membership,
    /// None if other machines cannot reach this node.
    pub client_urls: Vec<String>,
}

impl Publisher {
    /// Runs until it is dropped. The store must be loaded.
    pub async fn run(self) {
        loop {
            let is_done = self.publish().await && self.forget_others().await;
            sleep(match is_done {
                true => LOOK_INTERVAL,
                false => RETRY_INTERVAL,
            })
            .await;
        }
    }

    /// Publishes the URLs of this node, unless they are stored. Returns whether that succeeded.
    async fn publish(&self) -> bool {
        let own_id = self.membership.own_id().number();
        if self.store.settings().client_urls(own_id) == self.client_urls {
            return true;
        }
        self.set(own_id, self.client_urls.clone()).await
    }

    /// Forgets the URLs of nodes that the cluster does not have any more, if this node leads.
    async fn forget_others(&self) -> bool {
        let settings = self.store.settings();
        if !self.store.leads() {
            return true;
        }
        // After the settings: a node is a member before it publishes anything.
        let Ok(view) = self.membership.view().await else {
            return false;
        };
        let is_gone = |id: &u64| !view.servers.iter().any(|server| server.id.number() == *id);
        for id in settings.published().filter(is_gone) {
            info!(
                id = format_args!("{id:x}"),
                "forgetting the client URLs of a node that was removed"
            );
            if !self.set(id, Vec::new()).await {
                return false;
            }
        }
        true
    }

    async fn set(&self, id: u64, client_urls: Vec<String>) -> bool {
        let stored = self.store.publish(id, client_urls).await;
        if let Err(error) = &stored {
            debug!(%error, "cannot store the client URLs of a node yet");
        }
        stored.is_ok()
    }
}
