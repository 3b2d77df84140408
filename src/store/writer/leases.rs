//! Grants, revokes and expires leases, and stores their remaining time.

use etcd_state::{
    lease::{LeaseTable, MAX_TTL_S, MIN_TTL_S},
    mvcc::{LeaseId, MAX_POSITION},
    requests::RequestError,
};

use crate::store::{
    batch::{MAX_ROWS, Record},
    reply::Committed,
    writer::Writer,
};

/// Leases that expire in one tick: 1,000 per second, as in etcd.
const EXPIRIES_PER_TICK: usize = 500;

/// The remaining time of a lease is stored again when it is this much less than what is stored:
/// etcd's interval. After a crash the lease lives longer by at most this.
const CHECKPOINT_STEP_S: i64 = 300;

/// Leases stored in one tick, so that the writer is not held up.
const CHECKPOINTS_PER_TICK: usize = 200;

/// Leases stored at a clean stop, which bounds how long it takes; the others live a little longer.
pub const CHECKPOINTS_AT_STOP: usize = 10_000;

/// The number of leases that may expire now. A lease may have more keys than a batch has room for,
/// so those that are due at a tick go one batch after the other, and let requests in between.
#[derive(Debug, Default)]
pub struct Expiry {
    /// The number that may still expire before the next tick; 0 once none is due.
    left: usize,
    /// True if the last expiry was in this batch or the one before, and no request came since.
    must_wait: bool,
}

impl Expiry {
    pub fn request_came(&mut self) {
        self.must_wait = false;
    }
}

impl Writer {
    pub(super) fn grant(
        &mut self,
        leases: &mut LeaseTable,
        id: LeaseId,
        ttl_s: i64,
    ) -> Result<Committed<i64>, RequestError> {
        if ttl_s > MAX_TTL_S {
            return Err(RequestError::LeaseTtlTooLarge);
        }
        if leases.contains(id) {
            return Err(RequestError::LeaseExists);
        }
        let ttl_s = ttl_s.max(MIN_TTL_S);
        leases.insert(id, ttl_s, ttl_s, self.shared.now_ms());
        self.record(Record::LeaseGranted {
            id,
            granted_ttl_s: ttl_s,
        });
        self.shared.metrics.leases_granted.increment();
        self.shared.metrics.lease_ttls_s.observe(ttl_s as u64);
        Ok(self.committed(ttl_s))
    }

    pub(super) fn revoke(
        &mut self,
        leases: &mut LeaseTable,
        id: LeaseId,
    ) -> Result<Committed<()>, RequestError> {
        let keys = leases.remove(id).ok_or(RequestError::LeaseNotFound)?;
        self.record(Record::LeaseRemoved { id });
        self.shared.metrics.leases_revoked.increment();
        // One revision, unless there are more keys than one has positions for.
        let mut keys = keys.into_iter();
        loop {
            self.change(leases, |evaluation| {
                evaluation.delete_keys(keys.by_ref().take(MAX_POSITION as usize));
            });
            if keys.len() == 0 {
                return Ok(self.committed(()));
            }
        }
    }

    /// Gives a lease its full TTL again and returns it; none if there is no such lease, or its time
    /// is over. In that case its keys are gone when the client is told.
    pub(super) fn keep_alive(
        &mut self,
        leases: &mut LeaseTable,
        id: LeaseId,
    ) -> Result<Option<i64>, RequestError> {
        let now = self.shared.now_ms();
        if leases.is_over(id, now) {
            if self.admission.is_corrupt() {
                // The lease stays until the alarm is lowered.
                return Err(RequestError::Corrupt);
            }
            self.expire(leases, id);
            return Ok(None);
        }
        let Some(renewal) = leases.renew(id, now) else {
            return Ok(None);
        };
        self.shared.metrics.leases_renewed.increment();
        if renewal.needs_checkpoint {
            leases.checkpoint(id, renewal.ttl_s);
            self.record(Record::LeaseCheckpoint {
                id,
                remaining_s: renewal.ttl_s,
            });
        }
        Ok(Some(renewal.ttl_s))
    }

    /// Ends a lease whose time is over.
    pub(super) fn expire(&mut self, leases: &mut LeaseTable, id: LeaseId) {
        if self.admission.is_corrupt() || !leases.is_over(id, self.shared.now_ms()) {
            return;
        }
        let revoked = self.revoke(leases, id);
        self.shared.metrics.leases_expired.increment();
        debug_assert!(revoked.is_ok(), "it is in the table");
    }

    pub(super) fn tend_leases(&mut self) {
        self.expiry.left = EXPIRIES_PER_TICK;
        self.expire_leases();
        self.checkpoint_leases(CHECKPOINT_STEP_S, CHECKPOINTS_PER_TICK);
    }

    /// Revokes leases whose time is over, as far as the batch has room.
    pub(super) fn expire_leases(&mut self) {
        if self.admission.is_corrupt() {
            return;
        }
        let is_idle = self.queue.is_empty() && self.backlog.is_empty();
        if self.expiry.left == 0 || self.is_full() || (self.expiry.must_wait && !is_idle) {
            return;
        }
        let shared = self.shared.clone();
        let mut leases = shared.leases();
        let due = leases.expired(shared.now_ms(), self.expiry.left.min(MAX_ROWS));
        self.expiry.must_wait = !due.is_empty();
        if due.is_empty() {
            self.expiry.left = 0;
        }
        for id in due {
            if self.is_full() {
                break;
            }
            self.expiry.left -= 1;
            self.expire(&mut leases, id);
        }
    }

    pub(super) fn checkpoint_leases(&mut self, step_s: i64, limit: usize) {
        let shared = self.shared.clone();
        let mut leases = shared.leases();
        for (id, remaining_s) in leases.stale_checkpoints(shared.now_ms(), step_s, limit) {
            leases.checkpoint(id, remaining_s);
            self.record(Record::LeaseCheckpoint { id, remaining_s });
        }
    }
}
