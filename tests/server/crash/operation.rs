//! An operation of a writer: one transaction on its own keys, with a marker that names it.

use etcd_proto::etcdserverpb::TxnRequest;
use rand::Rng;
use rand::rngs::StdRng;

use crate::harness::*;

/// Keys of a writer that operations overwrite and delete.
const SLOTS: usize = 8;

#[derive(Debug, Clone)]
pub struct Operation {
    /// Key of the marker: never used twice.
    pub marker: String,
    /// Put with the marker as value.
    pub written: String,
    /// Deleted in the same transaction.
    pub deleted: Option<String>,
}

impl Operation {
    pub fn random(random: &mut StdRng, writer: usize, round: u64, sequence: u64) -> Self {
        let slot = |index: usize| format!("/slot/{writer}/{index}");
        let written = random.random_range(0..SLOTS);
        let other = (written + random.random_range(1..SLOTS)) % SLOTS;
        Self {
            marker: format!("/op/{round}/{writer}/{sequence}"),
            written: slot(written),
            deleted: random.random_bool(0.5).then(|| slot(other)),
        }
    }

    pub fn request(&self) -> TxnRequest {
        let request = txn()
            .then(put(self.written.clone(), self.marker.clone()))
            .then(put(self.marker.clone(), "done"));
        match &self.deleted {
            Some(key) => request.then(delete(key.clone())),
            None => request,
        }
    }
}
