//! Writes to a server, as fast as it accepts writes and with the requests that it knows.

use etcd_proto::etcdserverpb::{
    Compare, DeleteRangeRequest, LeaseGrantRequest, PutRequest, RangeRequest, RequestOp,
    TxnRequest,
    compare::{CompareResult, CompareTarget, TargetUnion},
    request_op::Request,
};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use super::{MigrateError, entry::Entry};
use crate::remote::{Remote, RemoteError};

/// Operations and bytes of one transaction: half of etcd's limits, whose default is 128 and 1.5 MiB. An entry
/// that is larger is alone.
const MAX_OPERATIONS: usize = 64;
const MAX_BYTES: usize = 768 * 1024;

/// Transactions under way.
const MAX_AT_ONCE: usize = 8;

/// The most attempts to write a key whose revision changes in between.
const MAX_ATTEMPTS: usize = 5;

/// A write of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    Put(Entry),
    Delete(bytes::Bytes),
}

impl Write {
    fn bytes(&self) -> usize {
        match self {
            Self::Put(entry) => entry.bytes(),
            Self::Delete(key) => key.len(),
        }
    }

    fn key(&self) -> &bytes::Bytes {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Delete(key) => key,
        }
    }

    fn operation(&self) -> RequestOp {
        let request = match self {
            Self::Put(entry) => Request::RequestPut(PutRequest {
                key: entry.key.clone(),
                value: entry.value.clone(),
                lease: entry.lease,
                ..Default::default()
            }),
            Self::Delete(key) => Request::RequestDeleteRange(DeleteRangeRequest {
                key: key.clone(),
                ..Default::default()
            }),
        };
        RequestOp {
            request: Some(request),
        }
    }
}

/// The outcome of the writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    pub written: u64,
    /// Entries that were not put, because their lease is gone.
    pub expired: u64,
}

impl Outcome {
    fn add(&mut self, other: Self) {
        self.written += other.written;
        self.expired += other.expired;
    }
}

pub struct Target {
    remote: Remote,
    /// True if the target is the Go k8s-dqlite: one key a transaction, in its shapes.
    is_go: bool,
    batch: Vec<Write>,
    batch_bytes: usize,
    running: JoinSet<Result<Outcome, RemoteError>>,
    outcome: Outcome,
}

impl Target {
    pub fn new(remote: Remote, is_go: bool) -> Self {
        Self {
            remote,
            is_go,
            batch: Vec::new(),
            batch_bytes: 0,
            running: JoinSet::new(),
            outcome: Outcome::default(),
        }
    }

    /// Keys must differ: their order is not kept.
    pub async fn write(&mut self, write: Write) -> Result<(), MigrateError> {
        if self.batch_bytes + write.bytes() > MAX_BYTES && !self.batch.is_empty() {
            self.send().await?;
        }
        self.batch_bytes += write.bytes();
        self.batch.push(write);
        if self.batch.len() == MAX_OPERATIONS {
            self.send().await?;
        }
        Ok(())
    }

    /// Sends the rest, and waits for all writes.
    pub async fn finish(mut self) -> Result<Outcome, MigrateError> {
        self.send().await?;
        while !self.running.is_empty() {
            self.join().await?;
        }
        Ok(self.outcome)
    }

    async fn send(&mut self) -> Result<(), MigrateError> {
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        while self.running.len() >= MAX_AT_ONCE {
            self.join().await?;
        }
        let remote = self.remote.clone();
        match self.is_go {
            true => self.running.spawn(write_each_by_txn(remote, batch)),
            false => self.running.spawn(write_batch(remote, batch)),
        };
        Ok(())
    }

    async fn join(&mut self) -> Result<(), MigrateError> {
        if let Some(joined) = self.running.join_next().await {
            self.outcome.add(joined.expect("writing does not panic")?);
        }
        Ok(())
    }
}

async fn write_batch(remote: Remote, batch: Vec<Write>) -> Result<Outcome, RemoteError> {
    let request = TxnRequest {
        success: batch.iter().map(Write::operation).collect(),
        ..Default::default()
    };
    match remote.kv.clone().txn(request).await {
        Ok(_) => Ok(Outcome {
            written: batch.len() as u64,
            expired: 0,
        }),
        Err(status) if is_without_lease(&status) => write_each(remote, batch).await,
        Err(status) => Err(failed(&remote, &status, &batch)),
    }
}

/// Writes the batch one by one, because a lease of one of them is gone, and its key with it.
async fn write_each(remote: Remote, batch: Vec<Write>) -> Result<Outcome, RemoteError> {
    let mut outcome = Outcome::default();
    for write in batch {
        let request = TxnRequest {
            success: vec![write.operation()],
            ..Default::default()
        };
        match remote.kv.clone().txn(request).await {
            Ok(_) => outcome.written += 1,
            Err(status) if is_without_lease(&status) => outcome.expired += 1,
            Err(status) => return Err(failed(&remote, &status, &[write])),
        }
    }
    Ok(outcome)
}

async fn write_each_by_txn(remote: Remote, batch: Vec<Write>) -> Result<Outcome, RemoteError> {
    for write in &batch {
        write_by_txn(&remote, write).await?;
    }
    Ok(Outcome {
        written: batch.len() as u64,
        expired: 0,
    })
}

/// Writes a key by the transactions that the Go k8s-dqlite knows, whatever its revision is.
pub async fn write_by_txn(remote: &Remote, write: &Write) -> Result<(), RemoteError> {
    let mut revision = 0;
    for _ in 0..MAX_ATTEMPTS {
        if !(revision == 0 && matches!(write, Write::Delete(_))) {
            let request = shaped(write, revision);
            let answer = remote.kv.clone().txn(request).await;
            let answer =
                answer.map_err(|status| failed(remote, &status, std::slice::from_ref(write)))?;
            if answer.into_inner().succeeded {
                return Ok(());
            }
        }
        let request = RangeRequest {
            key: write.key().clone(),
            ..Default::default()
        };
        let answer = remote.kv.clone().range(request).await;
        let answer = answer
            .map_err(|status| remote.failed(&status))?
            .into_inner();
        revision = answer.kvs.first().map_or(0, |kv| kv.mod_revision);
        if revision == 0 && matches!(write, Write::Delete(_)) {
            return Ok(());
        }
    }
    Err(RemoteError::Refused {
        url: remote.url.clone(),
        reason: format!("{} is written by somebody else", write.key().escape_ascii()),
    })
}

/// Returns the transaction that writes the key if it is at `revision`, where 0 means that it does
/// not exist. Its server tells a creation from an update by the operation for failure.
fn shaped(write: &Write, revision: i64) -> TxnRequest {
    let key = write.key().clone();
    let is_at = Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        key: key.clone(),
        target_union: Some(TargetUnion::ModRevision(revision)),
        ..Default::default()
    };
    let read = RequestOp {
        request: Some(Request::RequestRange(RangeRequest {
            key,
            ..Default::default()
        })),
    };
    TxnRequest {
        compare: vec![is_at],
        success: vec![write.operation()],
        failure: if revision == 0 { vec![] } else { vec![read] },
    }
}

fn is_without_lease(status: &Status) -> bool {
    status.code() == Code::NotFound && status.message().contains("lease not found")
}

/// A request that is too large says of which key.
fn failed(remote: &Remote, status: &Status, batch: &[Write]) -> RemoteError {
    match (remote.failed(status), batch) {
        (RemoteError::Refused { url, reason }, [write]) => RemoteError::Refused {
            url,
            reason: format!(
                "{} ({} bytes): {reason}",
                write.key().escape_ascii(),
                write.bytes()
            ),
        },
        (error, _) => error,
    }
}

/// Grants a lease; the id that keys must name, which with the Go k8s-dqlite is another.
pub async fn grant(remote: &Remote, id: i64, ttl_s: i64) -> Result<i64, MigrateError> {
    let request = LeaseGrantRequest { id, ttl: ttl_s };
    match remote.lease.clone().lease_grant(request).await {
        Ok(answer) => Ok(answer.into_inner().id),
        // An interrupted copy has granted it.
        Err(status) if status.message().contains("lease already exists") => Ok(id),
        Err(status) => Err(remote.failed(&status).into()),
    }
}
