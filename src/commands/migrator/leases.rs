//! Leases of the source, granted in the target.

use std::collections::HashMap;

use tokio::task::JoinSet;

use super::{MigrateError, source::Lease, target::grant};
use crate::remote::Remote;

/// Leases that are granted at a time.
const MAX_GRANTS_AT_ONCE: usize = 32;

/// The ids of leases in the target, by those in the source.
pub struct Leases {
    ids: HashMap<i64, i64>,
    is_go: bool,
}

impl Leases {
    /// Grants them. `is_go`: the source cannot list its own, which are granted when an entry names one.
    pub async fn grant(
        target: &Remote,
        leases: &[Lease],
        is_go: bool,
    ) -> Result<Self, MigrateError> {
        let mut ids = HashMap::new();
        let mut granting = JoinSet::new();
        let mut leases = leases.iter().copied();
        loop {
            while granting.len() < MAX_GRANTS_AT_ONCE
                && let Some(lease) = leases.next()
            {
                let target = target.clone();
                granting.spawn(async move {
                    let granted = grant(&target, lease.id, lease.remaining_s).await;
                    granted.map(|id| (lease.id, id))
                });
            }
            let Some(granted) = granting.join_next().await else {
                break;
            };
            let (id, granted) = granted.expect("granting does not panic")?;
            ids.insert(id, granted);
        }
        Ok(Self { ids, is_go })
    }

    pub fn count(&self) -> usize {
        self.ids.len()
    }

    /// The id in the target; none if the lease has ended, and its keys with it.
    pub async fn id(&mut self, target: &Remote, lease: i64) -> Result<Option<i64>, MigrateError> {
        if lease == 0 {
            return Ok(Some(0));
        }
        if self.is_go && !self.ids.contains_key(&lease) {
            // There, the id of a lease is its TTL.
            let granted = grant(target, lease, lease).await?;
            self.ids.insert(lease, granted);
        }
        Ok(self.ids.get(&lease).copied())
    }
}
