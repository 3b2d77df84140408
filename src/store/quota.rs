//! The limit of the database's size, and whether a request still fits. Pure: the size is an
//! argument.
//!
//! The size is that of the pages in use. It is read from the engine only when an upper estimate of
//! what was written since reaches the limit: far below it, a write costs an addition and a
//! comparison here; close to it, a reading per batch.

use etcd_proto::etcdserverpb::{PutRequest, RequestOp, TxnRequest, request_op::Request};

use super::{Pages, command::Command};

/// etcd's default, in bytes (`server/storage/quota.go`).
pub const DEFAULT_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// The largest quota that etcd suggests, in bytes.
pub const SUGGESTED_MAX_BYTES: u64 = 8 * 1024 * 1024 * 1024;

/// The cost of a key beside its bytes, and the cost of a lease: etcd's estimates, in bytes.
const KEY_OVERHEAD_BYTES: u64 = 256;
const LEASE_BYTES: u64 = 64;

/// A row takes at most about this many times its cost, when two of its size just miss a page.
const WORST_CASE_FACTOR: u64 = 2;

/// SQLite's page size in dqlite.
pub const PAGE_BYTES: u64 = 4096;

/// The bytes that may be written after a reading failed, before it is tried again. The write that
/// follows tells whether the engine is lost.
const UNREAD_GRACE_BYTES: u64 = 8 * 1024 * 1024;

/// The value of `--quota-backend-bytes`: 0 is the default, less than 0 is no quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaBytes(pub i64);

impl QuotaBytes {
    pub fn limit_bytes(self) -> Option<u64> {
        match self.0 {
            0 => Some(DEFAULT_BYTES),
            bytes => u64::try_from(bytes).ok(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Fits,
    Exceeds,
    /// The engine must be asked first.
    Unknown,
}

#[derive(Debug)]
pub struct Quota {
    limit_bytes: u64,
    /// The last reading, plus at most the bytes written since; none after an unknown outcome.
    used_bytes: Option<u64>,
    /// True if nothing was written since the reading.
    is_exact: bool,
    wants_reading: bool,
}

impl Quota {
    pub fn new(quota: QuotaBytes) -> Self {
        Self {
            limit_bytes: quota.limit_bytes().unwrap_or(u64::MAX),
            used_bytes: None,
            is_exact: false,
            wants_reading: false,
        }
    }

    /// Returns whether a request of this cost still fits; after `Unknown` a reading is wanted.
    pub fn judge(&mut self, cost_bytes: u64) -> Verdict {
        if self.limit_bytes == u64::MAX {
            return Verdict::Fits;
        }
        match self.used_bytes {
            Some(used) if used.saturating_add(cost_bytes) < self.limit_bytes => Verdict::Fits,
            Some(_) if self.is_exact => Verdict::Exceeds,
            _ => {
                self.wants_reading = true;
                Verdict::Unknown
            }
        }
    }

    /// Notes rows that will be written.
    pub fn charge(&mut self, rows: usize, bytes: usize) {
        let cost_bytes = rows as u64 * KEY_OVERHEAD_BYTES + bytes as u64;
        if let Some(used) = &mut self.used_bytes {
            *used = used.saturating_add(cost_bytes * WORST_CASE_FACTOR);
        }
        self.is_exact = false;
    }

    /// Notes a write that may have freed pages.
    pub fn outdate(&mut self) {
        self.is_exact = false;
    }

    /// Forgets the size, because the outcome of a write is unknown.
    pub fn forget(&mut self) {
        self.used_bytes = None;
        self.is_exact = false;
        self.wants_reading = false;
    }

    pub fn wants_reading(&self) -> bool {
        self.wants_reading
    }

    /// Takes a reading, made while nothing was on its way to the engine; none if it failed.
    pub fn read(&mut self, pages: Option<Pages>) {
        self.wants_reading = false;
        self.is_exact = pages.is_some();
        self.used_bytes = Some(match pages {
            Some(pages) => pages.used_bytes(),
            None => self.limit_bytes.saturating_sub(UNREAD_GRACE_BYTES),
        });
    }
}

impl Pages {
    pub fn total_bytes(self) -> u64 {
        self.total * PAGE_BYTES
    }

    pub fn used_bytes(self) -> u64 {
        self.total.saturating_sub(self.free) * PAGE_BYTES
    }
}

/// Returns the bytes that a request may add, as etcd estimates them; 0 if it can only free space.
pub fn cost_bytes(command: &Command) -> u64 {
    match command {
        Command::Put(call) => put_cost(&call.request),
        Command::Txn(call) => txn_cost(&call.request),
        Command::LeaseGrant(_) => LEASE_BYTES,
        _ => 0,
    }
}

fn put_cost(put: &PutRequest) -> u64 {
    KEY_OVERHEAD_BYTES + (put.key.len() + put.value.len()) as u64
}

fn txn_cost(txn: &TxnRequest) -> u64 {
    let cost = |operations: &[RequestOp]| operations.iter().map(operation_cost).sum::<u64>();
    cost(&txn.success).max(cost(&txn.failure))
}

fn operation_cost(operation: &RequestOp) -> u64 {
    match &operation.request {
        Some(Request::RequestPut(put)) => put_cost(put),
        Some(Request::RequestTxn(txn)) => txn_cost(txn),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(limit_bytes: i64) -> Quota {
        Quota::new(QuotaBytes(limit_bytes))
    }

    fn pages(total: u64, free: u64) -> Option<Pages> {
        Some(Pages { total, free })
    }

    #[test]
    fn zero_is_the_default_and_less_is_none() {
        assert_eq!(QuotaBytes(0).limit_bytes(), Some(DEFAULT_BYTES));
        assert_eq!(QuotaBytes(5).limit_bytes(), Some(5));
        assert_eq!(QuotaBytes(-1).limit_bytes(), None);
        let mut none = quota(-1);
        assert_eq!(none.judge(u64::MAX), Verdict::Fits);
        assert!(!none.wants_reading());
    }

    #[test]
    fn the_engine_is_asked_first_and_again_only_near_the_limit() {
        let mut quota = quota(100 * PAGE_BYTES as i64);
        assert_eq!(quota.judge(1), Verdict::Unknown);
        assert!(quota.wants_reading());
        quota.read(pages(10, 0));
        assert_eq!(quota.judge(PAGE_BYTES), Verdict::Fits);
        quota.charge(1, 44 * PAGE_BYTES as usize);
        assert_eq!(quota.judge(PAGE_BYTES), Verdict::Fits);
        quota.charge(1, PAGE_BYTES as usize);
        assert_eq!(quota.judge(PAGE_BYTES), Verdict::Unknown);
        quota.read(pages(56, 0));
        assert_eq!(quota.judge(PAGE_BYTES), Verdict::Fits);
    }

    #[test]
    fn only_an_exact_reading_refuses() {
        let mut quota = quota(100 * PAGE_BYTES as i64);
        quota.read(pages(120, 20));
        assert_eq!(quota.judge(1), Verdict::Exceeds);
        quota.outdate();
        assert_eq!(quota.judge(1), Verdict::Unknown);
        quota.read(pages(120, 30));
        assert_eq!(quota.judge(1), Verdict::Fits, "free pages do not count");
    }

    #[test]
    fn a_failed_reading_lets_a_little_pass() {
        let mut quota = quota(0);
        quota.read(None);
        assert!(!quota.wants_reading());
        assert_eq!(quota.judge(1), Verdict::Fits);
        quota.charge(0, UNREAD_GRACE_BYTES as usize);
        assert_eq!(quota.judge(1), Verdict::Unknown);
    }

    #[test]
    fn the_dearer_branch_of_a_transaction_counts() {
        let put = |size: usize| RequestOp {
            request: Some(Request::RequestPut(PutRequest {
                key: "k".into(),
                value: vec![0; size].into(),
                ..Default::default()
            })),
        };
        let delete = RequestOp {
            request: Some(Request::RequestDeleteRange(Default::default())),
        };
        let txn = |success: Vec<RequestOp>, failure: Vec<RequestOp>| TxnRequest {
            success,
            failure,
            ..Default::default()
        };
        let nested = RequestOp {
            request: Some(Request::RequestTxn(txn(vec![put(9), put(9)], vec![]))),
        };
        assert_eq!(txn_cost(&txn(vec![delete.clone()], vec![delete])), 0);
        assert_eq!(txn_cost(&txn(vec![put(9)], vec![put(99)])), 256 + 100);
        assert_eq!(txn_cost(&txn(vec![nested, put(99)], vec![])), 2 * 266 + 356);
    }
}
