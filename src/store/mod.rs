//! The store: evaluates writes, commits them to dqlite, and keeps the index in step.
//!
//! `Store` is the handle that all users share; `Writer` is the only task that changes anything.
//! Reads never wait for it: they take the head snapshot of `history`.

mod admission;
mod batch;
mod change_table;
mod cluster;
mod command;
mod compaction;
pub mod conversion;
mod database;
mod folded;
mod granted_leases;
mod hash;
mod load;
mod metrics;
mod pages;
mod probe;
mod purge;
mod quota;
mod recent_batches;
mod replica;
mod reply;
mod restore;
mod schema;
pub mod snapshot;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use dqlite::{client::Endpoint, cluster_id::ClusterId};
use etcd_proto::etcdserverpb::{
    AlarmMember, AlarmRequest, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, TxnRequest, TxnResponse,
};
use etcd_state::{
    auth::{self, Rules},
    lease::{LeaseCopy, LeaseTable, LeaseView, NowMs},
    mvcc::{History, LeaseId, Revision},
    requests::{self, Limits, RangeStream, RequestError, Sender},
    settings::Settings,
};
use prost::Message;
use telemetry::tracing::{Operation, Timeline};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

pub use self::{
    change_table::register as register_change_table,
    cluster::{Alone, Cluster, Confirmed},
    command::{
        Call, Command, Compact, Defragment, LeaseExpire, LeaseGrant, LeaseKeepAlive, LeaseList,
        LeaseRenewed, LeaseRevoke, LeaseTimeToLive, Publish, ReadPages, ReadSnapshotState, Request,
        SnapshotState, Submission,
    },
    database::{Layout, OpenError, Pages},
    hash::{StoreHash, hash},
    load::empty,
    metrics::Metrics,
    quota::QuotaBytes,
    recent_batches::{BATCH_FORMAT, PackedBatch, unpack},
    replica::{ApplyError, Leading, Replica, Row},
    reply::{Committed, ReplyReceiver, ReplySender},
    restore::Filling,
    schema::{ROWS_VERSION as ROWS_SCHEMA, VERSION as NEWEST_SCHEMA},
    writer::{CommitObserver, Ended, Stop, WriterError},
};
use self::{granted_leases::GrantedLeases, recent_batches::RecentBatches};

/// Requests that may wait for the writer; etcd refuses beyond 5,000 too.
const MAX_QUEUED: usize = 5_000;

/// The most that the queued requests may hold together, in bytes.
const MAX_QUEUED_BYTES: usize = 256 * 1024 * 1024;

/// The longest that a request may wait for its commit: etcd's 5 s and twice its election timeout.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(7);

/// The longest that a physical compaction may take: it waits for rows to be deleted in the pauses
/// of the writer, at least some thousand a second. etcd waits without a limit.
const PURGE_TIMEOUT: Duration = Duration::from_secs(600);

/// The longest that a defragmentation may take: longer than its statement.
const DEFRAGMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// A check whether the disk is so full that a failed write is its fault.
pub type DiskProbe = Box<dyn Fn() -> bool + Send + Sync>;

pub struct StoreOptions {
    pub endpoint: Endpoint,
    pub is_disk_full: DiskProbe,
    pub cluster: Arc<dyn Cluster>,
    /// The history that the database has to be of. A new database gets its id.
    pub cluster_id: ClusterId,
    /// The member in whose name alarms are raised.
    pub member_id: u64,
    pub quota: QuotaBytes,
    pub limits: Limits,
    /// That of a new database.
    pub layout: Layout,
}

/// The state that the writer and the handles share.
pub(crate) struct Shared {
    endpoint: Endpoint,
    is_disk_full: DiskProbe,
    cluster: Arc<dyn Cluster>,
    history_id: ClusterId,
    /// The cluster id of the database, once it is open.
    cluster_id: AtomicU64,
    member_id: u64,
    quota: QuotaBytes,
    limits: Limits,
    layout: Layout,
    /// Set by the task that watches the disk: writes that grow the database are refused.
    is_disk_low: AtomicBool,
    /// Set once the index holds what was committed before this node started.
    is_loaded: AtomicBool,
    history: Arc<History>,
    /// The leases, with the changes that are not committed yet. Locked by the writer while it
    /// evaluates, by keep-alives for a moment.
    leases: Mutex<LeaseTable>,
    /// The committed settings.
    settings: ArcSwap<Settings>,
    /// The committed settings in the form that permission checks use.
    rules: Arc<ArcSwap<Rules>>,
    queued_bytes: AtomicUsize,
    started: Instant,
    metrics: Metrics,
    recent_pages: pages::Recent,
    /// Empty while there are no other nodes and no archive.
    recent_batches: RecentBatches,
    granted_leases: GrantedLeases,
    /// Notifies when history, settings or the compaction revision have changed.
    published: watch::Sender<()>,
}

impl Shared {
    fn now_ms(&self) -> NowMs {
        self.started.elapsed().as_millis() as NowMs
    }

    fn leases(&self) -> MutexGuard<'_, LeaseTable> {
        self.leases.lock().expect("no panic while it is held")
    }
}

/// A handle to the store.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Submission>,
    /// The revision of the rules that let in the requests which are written through this handle.
    auth_revision: Option<u64>,
    /// The sender of those requests.
    sender: Sender,
}

impl Store {
    /// Leaves what is in memory to the end of the process, which follows the stop: to free it key by key takes seconds.
    pub fn keep_in_memory(&self) {
        std::mem::forget(self.shared.clone());
    }

    pub fn cluster_id(&self) -> u64 {
        self.shared.cluster_id.load(Ordering::Relaxed)
    }

    /// Returns the id of this node as a member.
    pub fn member_id(&self) -> u64 {
        self.shared.member_id
    }

    pub fn limits(&self) -> Limits {
        self.shared.limits
    }

    pub fn quota(&self) -> QuotaBytes {
        self.shared.quota
    }

    /// Sets whether the disk is low. While it is, only requests that can free space are written.
    pub fn set_disk_low(&self, is_low: bool) {
        self.shared.is_disk_low.store(is_low, Ordering::Relaxed);
    }

    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Returns the number of requests that wait for the writer, and the bytes that they hold.
    pub fn queued(&self) -> (usize, usize) {
        let requests = self.queue.max_capacity() - self.queue.capacity();
        (requests, self.shared.queued_bytes.load(Ordering::Relaxed))
    }

    pub fn history(&self) -> &Arc<History> {
        &self.shared.history
    }

    /// Returns a handle for a request that was checked against the rules of a revision. Its writes
    /// are refused if the rules have changed since, which only the leader knows.
    pub fn let_in_at(&self, auth_revision: u64) -> Self {
        Self {
            auth_revision: Some(auth_revision),
            ..self.clone()
        }
    }

    /// Returns a handle for the requests of somebody.
    pub fn sent_by(self, sender: Sender) -> Self {
        Self { sender, ..self }
    }

    /// Alarms, users and roles, as they are committed.
    pub fn settings(&self) -> Arc<Settings> {
        self.shared.settings.load_full()
    }

    /// The committed permissions.
    pub fn rules(&self) -> &Arc<ArcSwap<Rules>> {
        &self.shared.rules
    }

    pub fn revision(&self) -> Revision {
        self.shared.history.head().revision
    }

    /// Returns the changes of a revision and some after it, as this node has written them, if it has just done so.
    pub fn packed_from(&self, first: Revision) -> Option<Arc<PackedBatch>> {
        let packed = self.shared.recent_batches.beginning_with(first)?;
        (packed.last <= self.revision()).then_some(packed)
    }

    /// Keeps what is written above a revision for the archive, within bounds.
    pub fn hold_above(&self, revision: Revision) {
        self.shared.granted_leases.note();
        self.shared.recent_batches.hold_above(revision);
    }

    /// Returns about how many bytes the archive lacks.
    pub fn held_bytes(&self) -> usize {
        self.shared.recent_batches.held_bytes()
    }

    /// Returns the leases that were granted here and not forgotten yet, the oldest first, whether they are still there or not.
    pub fn granted_leases(&self) -> Vec<LeaseCopy> {
        self.shared.granted_leases.remembered()
    }

    /// Forgets the oldest ones of those leases: they are in the archive.
    pub fn forget_granted_leases(&self, count: usize) {
        self.shared.granted_leases.forget(count);
    }

    /// Reads leases and settings, and the revision that they belong to, once that is committed.
    pub async fn snapshot_state(&self) -> Result<SnapshotState, RequestError> {
        self.submit(ReadSnapshotState).await
    }

    /// Returns whether this node takes the writes.
    pub fn leads(&self) -> bool {
        self.shared.cluster.leads()
    }

    pub fn has_leader(&self) -> bool {
        self.shared.cluster.has_leader()
    }

    /// Returns whether the index holds all that was committed before this node started.
    pub fn is_loaded(&self) -> bool {
        self.shared.is_loaded.load(Ordering::Acquire)
    }

    pub fn is_disk_low(&self) -> bool {
        self.shared.is_disk_low.load(Ordering::Relaxed)
    }

    /// Returns how long the engine of this node has not answered.
    pub fn engine_silent_for(&self) -> Duration {
        self.shared.cluster.engine_silent_for()
    }

    /// Returns the number of leases; none if this node is not the leader, since only the leader
    /// knows.
    pub fn lease_count(&self) -> Option<usize> {
        self.leads().then(|| self.shared.leases().len())
    }

    pub fn leader_changes(&self) -> u64 {
        self.shared.cluster.leader_changes()
    }

    /// Notified when something was committed, or compacted.
    pub fn published(&self) -> watch::Receiver<()> {
        self.shared.published.subscribe()
    }

    /// Waits until reads here are at least as new as what was committed before the call.
    pub async fn linearize(&self) -> Result<(), RequestError> {
        let cluster = &self.shared.cluster;
        if cluster.is_alone() {
            return Ok(());
        }
        let started = Instant::now();
        let confirmed = match timeout(REQUEST_TIMEOUT, cluster.confirm()).await {
            Ok(confirmed) => confirmed,
            Err(_) => Err(RequestError::TimedOut),
        };
        let metrics = &self.shared.metrics;
        metrics.linearized(confirmed.is_ok(), started.elapsed());
        confirmed
    }

    /// Answers from one immutable snapshot.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, RequestError> {
        requests::check_range(request)?;
        self.shared.metrics.ranges.increment();
        if request.revision <= 0 {
            let head = self.shared.history.head();
            return Ok(requests::range(&head.tree, request, head.revision));
        }
        let snapshot = self.shared.history.at(Revision::new(request.revision))?;
        Ok(requests::range(&snapshot.tree, request, self.revision()))
    }

    /// Returns a range in chunks. Fails with etcd's texts for the options that its RangeStream does
    /// not take.
    pub fn range_stream(&self, request: RangeRequest) -> Result<RangeStream, RequestError> {
        requests::check_range(&request)?;
        if !requests::is_default_order(&request) {
            return Err(RequestError::StreamOrder);
        }
        if requests::has_filters(&request) {
            return Err(RequestError::StreamFilters);
        }
        let revision = self.revision();
        let snapshot = self.shared.history.at(Revision::new(request.revision))?;
        Ok(RangeStream::new(
            snapshot.tree.clone(),
            request,
            revision.max(snapshot.revision),
        ))
    }

    pub async fn put(&self, request: PutRequest) -> Result<PutResponse, RequestError> {
        requests::check_put(&request)?;
        self.check_size(&request)?;
        self.write(request).await
    }

    pub async fn delete_range(
        &self,
        request: DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, RequestError> {
        requests::check_delete_range(&request)?;
        self.check_size(&request)?;
        self.write(request).await
    }

    pub async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, RequestError> {
        requests::check_txn(&request, self.shared.limits.max_txn_operations)?;
        if !requests::is_read_only(&request) {
            self.check_size(&request)?;
        }
        self.write(request).await
    }

    /// Returns the TTL that was granted. An id of none must have been replaced by a free one.
    pub async fn lease_grant(
        &self,
        id: LeaseId,
        ttl_s: i64,
    ) -> Result<Committed<i64>, RequestError> {
        self.commit(REQUEST_TIMEOUT, LeaseGrant { id, ttl_s }).await
    }

    /// Deletes the lease and its keys.
    pub async fn lease_revoke(&self, id: LeaseId) -> Result<Committed<()>, RequestError> {
        self.commit(REQUEST_TIMEOUT, LeaseRevoke { id }).await
    }

    /// Returns the TTL that the lease has again, or none if there is no such lease. Only the first
    /// renewal after a checkpoint is written.
    pub async fn lease_keep_alive(&self, id: LeaseId) -> Result<Option<i64>, RequestError> {
        if !self.shared.cluster.is_alone() {
            return self.submit(LeaseKeepAlive { id }).await;
        }
        let renewed = {
            let mut leases = self.shared.leases();
            let now = self.shared.now_ms();
            (!leases.is_over(id, now)).then(|| leases.renew(id, now))
        };
        let Some(renewed) = renewed else {
            // As in etcd: when its client hears that it is over, its keys are gone.
            self.submit(LeaseExpire { id }).await?;
            return Ok(None);
        };
        let Some(renewal) = renewed else {
            return Ok(None);
        };
        self.shared.metrics.leases_renewed.increment();
        let ttl_s = renewal.ttl_s;
        if renewal.needs_checkpoint {
            self.submit(LeaseRenewed { id, ttl_s }).await?;
        }
        Ok(Some(ttl_s))
    }

    pub async fn lease_time_to_live(
        &self,
        id: LeaseId,
        with_keys: bool,
    ) -> Result<Option<LeaseView>, RequestError> {
        self.submit(LeaseTimeToLive { id, with_keys }).await
    }

    pub async fn lease_list(&self) -> Result<Vec<LeaseId>, RequestError> {
        self.submit(LeaseList).await
    }

    pub async fn compact(
        &self,
        revision: Revision,
        physical: bool,
    ) -> Result<Committed<()>, RequestError> {
        let limit = if physical {
            PURGE_TIMEOUT
        } else {
            REQUEST_TIMEOUT
        };
        self.commit(limit, Compact { revision, physical }).await
    }

    /// Raises, lowers or lists alarms; returns those that it was about.
    pub async fn alarm(
        &self,
        request: AlarmRequest,
    ) -> Result<Committed<Vec<AlarmMember>>, RequestError> {
        self.commit(REQUEST_TIMEOUT, request).await
    }

    /// Gives free pages of the database back, if there are many. Writes wait meanwhile.
    pub async fn defragment(&self) -> Result<(), RequestError> {
        self.submit_within(DEFRAGMENT_TIMEOUT, Defragment).await?;
        *self.shared.recent_pages.lock().await = None;
        Ok(())
    }

    pub async fn change_auth(&self, change: auth::Change) -> Result<Committed<()>, RequestError> {
        self.commit(REQUEST_TIMEOUT, change).await
    }

    /// Stores the client URLs of a member, if the database has room for them: that of an earlier
    /// version has none.
    pub async fn publish(
        &self,
        member_id: u64,
        client_urls: Vec<String>,
    ) -> Result<(), RequestError> {
        self.submit(Publish {
            member_id,
            client_urls,
        })
        .await
    }

    /// The keys of a lease; none if there is no such lease.
    pub fn leased_keys(&self, id: LeaseId) -> Vec<Bytes> {
        if !self.shared.cluster.leads() {
            // Only the leader has the table of leases.
            let head = self.shared.history.head();
            let leased = head
                .tree
                .iter()
                .filter(|kv| kv.lease == id && !id.is_none());
            return leased.map(|kv| kv.key.clone()).collect();
        }
        self.shared
            .leases()
            .view(id, true, self.shared.now_ms())
            .map_or_else(Vec::new, |view| view.keys)
    }

    /// Queues a request that is checked, of this size in bytes, and notes in `timeline` how far it has
    /// come. Fails if the queue is full.
    pub fn enqueue<R: Request>(
        &self,
        request: R,
        size_bytes: usize,
        timeline: Option<Arc<Timeline>>,
    ) -> Result<ReplyReceiver<R::Reply>, RequestError> {
        self.enqueue_from(request, size_bytes, timeline, false)
    }

    /// Queues a request that another node forwards, in the same way.
    pub fn enqueue_forwarded<R: Request>(
        &self,
        request: R,
        size_bytes: usize,
        timeline: Option<Arc<Timeline>>,
    ) -> Result<ReplyReceiver<R::Reply>, RequestError> {
        self.enqueue_from(request, size_bytes, timeline, true)
    }

    fn enqueue_from<R: Request>(
        &self,
        request: R,
        size_bytes: usize,
        timeline: Option<Arc<Timeline>>,
        is_forwarded: bool,
    ) -> Result<ReplyReceiver<R::Reply>, RequestError> {
        let queued_bytes = &self.shared.queued_bytes;
        if queued_bytes.fetch_add(size_bytes, Ordering::Relaxed) + size_bytes > MAX_QUEUED_BYTES {
            queued_bytes.fetch_sub(size_bytes, Ordering::Relaxed);
            self.shared.metrics.refused.queue_full.increment();
            return Err(RequestError::TooManyRequests);
        }
        let (reply, answer) = ReplySender::new(timeline);
        let submission = Submission {
            command: request.into_command(reply),
            auth_revision: self.auth_revision,
            weight_bytes: size_bytes,
            is_forwarded,
            returns: 0,
        };
        match self.queue.try_send(submission) {
            Ok(()) => Ok(answer),
            Err(error) => {
                queued_bytes.fetch_sub(size_bytes, Ordering::Relaxed);
                Err(match error {
                    mpsc::error::TrySendError::Full(_) => {
                        self.shared.metrics.refused.queue_full.increment();
                        RequestError::TooManyRequests
                    }
                    mpsc::error::TrySendError::Closed(_) => RequestError::Stopped,
                })
            }
        }
    }

    pub async fn pages(&self) -> Result<Pages, RequestError> {
        self.submit(ReadPages).await
    }

    fn check_size(&self, request: &impl Message) -> Result<(), RequestError> {
        let member_id = self.shared.member_id;
        let entry_bytes = requests::entry_bytes(request.encoded_len(), member_id, self.sender);
        match entry_bytes > self.shared.limits.max_request_bytes {
            true => Err(RequestError::TooLarge),
            false => Ok(()),
        }
    }

    /// Submits a request of a client to change keys, and measures how long it takes.
    async fn write<R: Request + Message>(&self, request: R) -> Result<R::Reply, RequestError> {
        let size_bytes = request.encoded_len();
        let operation = Operation::begin(R::NAME);
        let answer = self.enqueue(request, size_bytes, operation.timeline().cloned())?;
        let result = self.answered(REQUEST_TIMEOUT, answer).await;
        let took = operation.began().elapsed();
        self.shared
            .metrics
            .write_us
            .observe(took.as_micros() as u64);
        result
    }

    /// Submits a write. A leader of an older version does not say at which revision it took effect:
    /// then it is the newest one here.
    async fn commit<T, R: Request<Reply = Committed<T>>>(
        &self,
        limit: Duration,
        request: R,
    ) -> Result<Committed<T>, RequestError> {
        let mut committed = self.submit_within(limit, request).await?;
        if committed.revision == Revision::default() {
            committed.revision = self.revision();
        }
        Ok(committed)
    }

    async fn submit<R: Request>(&self, request: R) -> Result<R::Reply, RequestError> {
        self.submit_within(REQUEST_TIMEOUT, request).await
    }

    async fn submit_within<R: Request>(
        &self,
        limit: Duration,
        request: R,
    ) -> Result<R::Reply, RequestError> {
        let operation = Operation::begin(R::NAME);
        let answer = self.enqueue(request, 0, operation.timeline().cloned())?;
        self.answered(limit, answer).await
    }

    async fn answered<T>(
        &self,
        limit: Duration,
        answer: ReplyReceiver<T>,
    ) -> Result<T, RequestError> {
        let metrics = &self.shared.metrics;
        let _pending = metrics.wait();
        let result = match timeout(limit, answer).await {
            Ok(Ok(result)) => result,
            // The writer stopped with the request in its hands: it may have been written.
            Ok(Err(_)) | Err(_) => Err(RequestError::TimedOut),
        };
        if matches!(result, Err(RequestError::TimedOut)) {
            metrics.failed.increment();
        }
        result
    }
}
