//! Tells what fills the store, and who uses this node: for `k8s-dqlite top`, the status page and `/metrics/top`.
//!
//! Invariants: nothing here runs while nobody looks. Sizes are computed on request from a snapshot of the index, which
//! no writer waits for, and from parts of the history under its lock; a request of a client costs one load of a flag until
//! somebody looks, and afterwards one entry of a bounded table, until [`COUNTING_TIME`] after the last look.

mod answer;
mod counting;
mod groups;
mod operations;
mod paced;
mod sizes;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use operator_proto::TopResponse;

use self::{counting::Counts, paced::Paced, sizes::Sizes};
pub use self::{
    counting::{ClientName, Counting},
    operations::{Operation, TxnOperations},
    paced::Busy,
    sizes::Query,
};
use crate::{
    store::Store,
    watch::{WatchHub, Watched},
};

/// The time for which requests are counted after the last look: longer than the interval of most scrapes.
pub const COUNTING_TIME: Duration = Duration::from_secs(90);

/// Watchers that are looked at under the hub's lock: some 1 ms.
const MAX_WATCHERS: usize = 16_384;

pub struct Top {
    store: Store,
    hub: Arc<WatchHub>,
    clients: Arc<Clients>,
    sizes: Paced<Sizes>,
    answers: Paced<TopResponse>,
}

impl Top {
    pub fn new(store: Store, hub: Arc<WatchHub>) -> Arc<Self> {
        Arc::new(Self {
            store,
            hub,
            clients: Arc::default(),
            sizes: Paced::new(sizes::MIN_AGE),
            answers: Paced::new(Duration::ZERO),
        })
    }

    pub fn clients(&self) -> &Arc<Clients> {
        &self.clients
    }

    /// Returns the state now, or a moment ago, and counts requests from here on.
    pub async fn look(self: &Arc<Self>, query: Query) -> Result<Arc<TopResponse>, Busy> {
        self.clients.counting.keep_on();
        let (store, wanted) = (self.store.clone(), query.clone());
        let walk = move || sizes::measure(store.history(), &wanted);
        let sizes = self.sizes.get(&query, walk).await?;
        let (top, wanted) = (self.clone(), query.clone());
        let write = move || top.write(&wanted, &sizes);
        self.answers.get(&query, write).await
    }

    fn write(&self, query: &Query, sizes: &Sizes) -> TopResponse {
        let mut counts = self.clients.counting.look();
        let (watchers, left_out) = self.hub.watched(MAX_WATCHERS);
        self.clients.add_watchers(&mut counts, &watchers);
        counts.watchers_left_out = left_out as u64;
        answer::write(query, sizes, &counts)
    }
}

/// The clients that send requests, as far as they are known.
#[derive(Debug, Default)]
pub struct Clients {
    pub counting: Counting,
    /// Of the watch streams that are open, by their numbers.
    streams: Mutex<HashMap<u64, ClientName>>,
}

impl Clients {
    /// Remembers whose stream it is, until what is returned is dropped.
    pub fn open_stream(self: &Arc<Self>, id: u64, client: ClientName) -> OpenStream {
        self.streams().insert(id, client);
        OpenStream {
            clients: self.clone(),
            id,
        }
    }

    fn add_watchers(&self, counts: &mut Counts, watchers: &[Watched]) {
        let streams = self.streams();
        for watcher in watchers {
            // It may have been closed meanwhile.
            if let Some(client) = streams.get(&watcher.stream_id) {
                counts.add_watcher(client, watcher.range.start(), watcher.is_slow);
            }
        }
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<u64, ClientName>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A watch stream whose client is known.
pub struct OpenStream {
    clients: Arc<Clients>,
    id: u64,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.clients.streams().remove(&self.id);
    }
}
