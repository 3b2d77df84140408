//! Leaves a cluster that has removed this node, or that it has not joined completely.

use std::sync::Arc;

use hyper::Method;
use serde_json::Value;
use tracing::{info, warn};

use super::{ASK_TIMEOUT, Daemon, Phase};
use crate::{
    Error,
    certificate::{self, fingerprint, parse},
    client::{Target, pinned},
    cluster::Cluster,
    datastore::journal::{self, Withdrawn},
    trust::Truststore,
};

impl Daemon {
    /// Returns whether this node is a member, by its daemon.yaml, which a bootstrap or join writes last.
    pub(crate) fn is_member(&self) -> Result<bool, Error> {
        Ok(self.state.read_daemon()?.is_some())
    }

    /// Resets this node, after the cluster has removed it.
    pub(crate) async fn reset(&self, left: Arc<Cluster>) -> Result<(), Error> {
        // A start holds the lock, and waits for a database that this node never reaches.
        self.removed.notify_one();
        let _changing = self.change.lock().await;
        // It may have left by itself, and be in another one already.
        match self.phase() {
            Phase::Open(cluster) if Arc::ptr_eq(&cluster, &left) => self.forget().await,
            _ => Ok(()),
        }
    }

    pub(super) async fn forget(&self) -> Result<(), Error> {
        self.end(false).await;
        self.state.reset()?;
        if let Withdrawn::Kept(dir) = journal::withdraw(&self.state)? {
            warn!(
                dir = %dir.display(),
                "the datastore's data of this node is left: stop k8s-dqlite, and move all of it away \
                 before this node joins again"
            );
        }
        self.set(Phase::New);
        info!("this node was removed from its cluster, and can join one again");
        Ok(())
    }

    /// Cleans up after a join that was killed: the cluster forgets a pending member at once, if it is reached. A
    /// directory that lost its daemon.yaml some other way is left as it is.
    pub(super) async fn give_up_join(&self) -> Result<(), Error> {
        let pair = |name| certificate::load(&self.state, name);
        let (Some(own), Some(cluster)) = (pair("server")?, pair("cluster")?) else {
            return Ok(());
        };
        let entries = Truststore::load(&self.state).map(|store| store.entries());
        let entries = entries.unwrap_or_default();
        let mut named = entries.iter().filter(|e| e.certificate == own.certificate);
        let Some(named) = named.next() else {
            return Ok(());
        };
        let context = pinned(&own, &fingerprint(&parse(&cluster.certificate)?)?)?;
        for other in entries.iter().filter(|e| e.name != named.name) {
            let target = Target::Pinned {
                address: other.address.clone(),
                context: context.clone(),
            };
            let path = format!("/core/1.0/cluster/{}?force=1&pending=1", named.name);
            let gone = target.call::<Value>(Method::DELETE, &path, None, ASK_TIMEOUT);
            match gone.await {
                Ok(_) => {
                    info!(name = named.name, "undoing a join that was interrupted");
                    self.state.reset()?;
                    return journal::withdraw(&self.state).map(drop);
                }
                Err(error) => {
                    warn!(%error, "the state directory does not show whether this node is a member")
                }
            }
        }
        Ok(())
    }
}

/// Asks the members to forget this node. One that was never let in is refused.
pub(super) async fn be_forgotten(targets: &[Target], name: &str) {
    let path = format!("/core/1.0/cluster/{name}?force=1&pending=1");
    for target in targets {
        let gone = target.call::<Value>(Method::DELETE, &path, None, ASK_TIMEOUT);
        match gone.await {
            Ok(_)
            | Err(Error::Refused {
                status: 403 | 404, ..
            }) => return,
            Err(error) => warn!(%error, "a member could not be asked to forget this node"),
        }
    }
    warn!(
        "no member could be asked to forget this node; if it was let in, the cluster forgets it by itself in some minutes"
    );
}
