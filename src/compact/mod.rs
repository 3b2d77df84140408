//! Automatic compaction, for clusters whose clients never ask for it.

mod policy;

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use etcd_state::requests::RequestError;
use stopping::warn;
use tokio::{sync::watch, time::MissedTickBehavior};
use tracing::debug;

use self::policy::Policy;
use crate::store::Store;

/// Counts the compactions that clients asked for: while they do, nothing is done here.
#[derive(Debug, Default)]
pub struct ClientCompactions(AtomicU64);

impl ClientCompactions {
    pub fn note(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Compacts every interval to where the store was one interval before, and begins anew when the interval changes; `None`: never.
/// Runs until it is dropped, or nobody can change the interval any more.
pub async fn run(
    store: Store,
    clients: Arc<ClientCompactions>,
    mut interval: watch::Receiver<Option<Duration>>,
) {
    loop {
        let now = *interval.borrow_and_update();
        let compacting = async {
            match now {
                Some(interval) => compact_every(interval, &store, &clients).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = compacting => {}
            changed = interval.changed() => if changed.is_err() { return },
        }
    }
}

async fn compact_every(interval: Duration, store: &Store, clients: &ClientCompactions) {
    let mut policy = Policy::new(store.revision(), clients.count());
    let mut ticks = tokio::time::interval(interval);
    // After a pause of the machine, ticks in a burst would leave no history at all.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        // The policy goes on: whoever leads next knows what there was one interval ago.
        let is_ours = store.leads();
        let Some(revision) = policy.tick(store.revision(), clients.count()) else {
            continue;
        };
        if !is_ours {
            continue;
        }
        let started = Instant::now();
        match store.compact(revision, false).await {
            Ok(_) => debug!(revision = revision.number(), took = ?started.elapsed(), "compacted"),
            // A client was faster.
            Err(RequestError::Compacted) => {}
            Err(error) => {
                warn!(%error, revision = revision.number(), "automatic compaction failed; trying again")
            }
        }
    }
}
