//! The size of the database, from a recent reading or a new one.

use std::time::Duration;

use etcd_state::requests::RequestError;
use tokio::{sync::Mutex, time::Instant};

use super::{Pages, Store};

/// The age up to which a reading is used again: sizes are polled, and each reading interrupts the
/// writer.
const MAX_AGE: Duration = Duration::from_secs(5);

/// The last reading, and its time.
pub(super) type Recent = Mutex<Option<(Instant, Pages)>>;

impl Store {
    /// Returns the page counts of some seconds ago at most.
    pub async fn recent_pages(&self) -> Result<Pages, RequestError> {
        let mut recent = self.shared.recent_pages.lock().await;
        if let Some((read_at, pages)) = *recent
            && read_at.elapsed() < MAX_AGE
        {
            return Ok(pages);
        }
        let pages = self.pages().await?;
        *recent = Some((Instant::now(), pages));
        Ok(pages)
    }

    /// Returns the page counts of the last reading, if there was one since the last
    /// defragmentation.
    pub async fn last_pages(&self) -> Option<Pages> {
        let recent = self.shared.recent_pages.lock().await;
        recent.map(|(_, pages)| pages)
    }
}
