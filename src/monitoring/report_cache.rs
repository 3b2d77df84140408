//! All nodes, as they answer when somebody looks at the status page.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use peer_proto::AboutResponse;
use tokio::{
    sync::{Mutex, watch},
    time::timeout,
};

use crate::cluster::status::{Report, StatusTargets, gather};

/// The age up to which an answer is used: however many viewers there are, the nodes are asked at
/// most this often.
const MAX_AGE: Duration = Duration::from_secs(2);

/// The age from which on an answer is too old to be shown: the first viewer after a while waits for
/// a new one.
const STALE_AGE: Duration = Duration::from_secs(10);

/// The longest wait for a newer answer; after it the old one is shown.
const FIRST_TIMEOUT: Duration = Duration::from_millis(1500);

/// Returns the nodes as they are now.
pub type Nodes = Box<dyn Fn() -> StatusTargets + Send + Sync>;

/// The answer of this node, which needs no connection for it.
pub type OwnAnswer = Pin<Box<dyn Future<Output = AboutResponse> + Send>>;

/// Asks this node.
pub type Own = Box<dyn Fn() -> OwnAnswer + Send + Sync>;

/// The report of the nodes, and its time.
#[derive(Clone)]
pub struct DatedReport {
    pub report: Arc<Report>,
    pub at: Instant,
}

pub struct ReportCache {
    nodes: Nodes,
    own: Own,
    seen: watch::Sender<Option<DatedReport>>,
    /// Held while the nodes are asked.
    asking: Arc<Mutex<()>>,
}

impl ReportCache {
    pub fn new(nodes: Nodes, own: Own) -> Self {
        Self {
            nodes,
            own,
            seen: watch::Sender::new(None),
            asking: Arc::default(),
        }
    }

    /// Returns the last answer, and asks again in the background if it is old. None if nobody has
    /// answered yet.
    pub async fn look(&self, now_s: i64) -> Option<DatedReport> {
        let is_fresh = |seen: &DatedReport| seen.at.elapsed() < MAX_AGE;
        if !self.seen.borrow().as_ref().is_some_and(is_fresh)
            && let Ok(asking) = self.asking.clone().try_lock_owned()
        {
            let (targets, seen) = ((self.nodes)(), self.seen.clone());
            let own = (self.own)();
            tokio::spawn(async move {
                let gathered = gather(&targets, Some(own.await)).await;
                let report = Arc::new(Report::new(&targets, gathered, now_s));
                let at = Instant::now();
                seen.send_replace(Some(DatedReport { report, at }));
                drop(asking);
            });
        }
        let mut seen = self.seen.subscribe();
        let is_usable = |seen: &Option<DatedReport>| {
            seen.as_ref()
                .is_some_and(|seen| seen.at.elapsed() < STALE_AGE)
        };
        let _ = timeout(FIRST_TIMEOUT, seen.wait_for(is_usable)).await;
        // With its age, if there is no other.
        seen.borrow().clone()
    }
}
