//! Measures what a server writes to its disk while nothing happens in a cluster but what always happens: nodes renew their
//! leases, pods change, and what is superseded is compacted. The rates are given, so servers can be measured side by side.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use etcd_proto::etcdserverpb::{CompactionRequest, PutRequest, RangeRequest};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Interval, timeout_at};
use tonic::transport::Channel;

use crate::args::UpkeepShape;
use crate::crew::Schedule;
use crate::failure::{Failure, wrong};
use crate::meter::Meter;
use crate::pods::{lease, pod};
use crate::target::{Target, kv};

/// Calls under way while the objects are made.
const MAKERS: usize = 32;
/// Clients among which the updates of one kind are divided: none of them waits for its turn on a disk that is fast enough.
const CLIENTS: u32 = 16;
/// Updates that may fail.
const MAX_FAILURES: u64 = 1000;
const MIB: f64 = 1_048_576.0;

pub const HEADING: &str = "\
| server | leases/s, pods/s | updates | failed | put MiB | disk MiB | disk / put | server CPU us/update | RSS MiB |
|---|---|---|---|---|---|---|---|---|";

/// Objects of one kind, all of which are updated in turn.
#[derive(Clone, Copy)]
struct Kind {
    prefix: &'static str,
    count: u64,
    make: fn(u64, &mut SmallRng) -> Bytes,
}

/// Updates, bytes of their keys and values, and calls that failed.
#[derive(Default)]
struct Put {
    updates: AtomicU64,
    bytes: AtomicU64,
    failures: AtomicU64,
}

pub fn run(target: &Target, shape: &UpkeepShape, schedule: &Schedule) -> Result<String, Failure> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::Machine(format!("no threads: {error}")))?;
    runtime.block_on(measure(target, shape, schedule))
}

async fn measure(
    target: &Target,
    shape: &UpkeepShape,
    schedule: &Schedule,
) -> Result<String, Failure> {
    let channel = target.connect().await?;
    let leases = Kind {
        prefix: "/registry/leases/kube-node-lease/",
        count: shape.leases,
        make: lease,
    };
    let pods = Kind {
        prefix: "/registry/pods/production/",
        count: shape.pods,
        make: |_, rng| pod(rng),
    };
    for kind in [leases, pods] {
        fill(&channel, kind).await?;
    }
    let end = Instant::now() + schedule.length;
    let put = Arc::new(Put::default());
    let meter = Meter::start(&target.server_pids)?;
    let mut tasks = JoinSet::new();
    for (kind, per_s) in [(leases, shape.leases_per_s), (pods, shape.pods_per_s)] {
        for client in 0..CLIENTS {
            let every = Duration::from_secs(1) * CLIENTS / per_s;
            let first = Instant::now() + every * client / CLIENTS;
            let (channel, put) = (channel.clone(), put.clone());
            tasks.spawn(update(channel, kind, put, first, every, end));
        }
    }
    let every = Duration::from_secs(shape.compact_s);
    tasks.spawn(compact(channel.clone(), put.clone(), every, end));
    finish(&mut tasks).await?;
    let cost = meter.stop()?;
    let updates = put.updates.load(Ordering::Relaxed) as f64;
    let put_mib = put.bytes.load(Ordering::Relaxed) as f64 / MIB;
    let (Some(written), Some(cpu), Some(rss)) = (
        cost.server_written_bytes,
        cost.server_cpu,
        cost.server_rss_bytes,
    ) else {
        return wrong("--server-pid is needed, of processes of this user");
    };
    let written_mib = written as f64 / MIB;
    Ok(format!(
        "| {} | {}, {} | {updates:.0} | {} | {put_mib:.0} | {written_mib:.0} | {:.2} | {:.0} | {:.0} |",
        target.name,
        shape.leases_per_s,
        shape.pods_per_s,
        put.failures.load(Ordering::Relaxed),
        written_mib / put_mib,
        cpu.as_micros() as f64 / updates,
        rss as f64 / MIB,
    ))
}

/// Makes all objects of a kind.
async fn fill(channel: &Channel, kind: Kind) -> Result<(), Failure> {
    let next = Arc::new(AtomicU64::new(0));
    let mut makers = JoinSet::new();
    for _ in 0..MAKERS {
        let (channel, next) = (channel.clone(), next.clone());
        makers.spawn(async move {
            let (mut kv, mut rng) = (kv(channel), SmallRng::from_os_rng());
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= kind.count {
                    return Ok(());
                }
                kv.put(kind.object(number, &mut rng)).await?;
            }
        });
    }
    finish(&mut makers).await
}

impl Kind {
    fn object(self, number: u64, rng: &mut SmallRng) -> PutRequest {
        PutRequest {
            key: format!("{}{number:06}", self.prefix).into(),
            value: (self.make)(number, rng),
            ..Default::default()
        }
    }
}

/// Updates objects at its moments; those that it is late for follow at once.
async fn update(
    channel: Channel,
    kind: Kind,
    put: Arc<Put>,
    first: Instant,
    every: Duration,
    end: Instant,
) -> Result<(), Failure> {
    let (mut kv, mut rng) = (kv(channel), SmallRng::from_os_rng());
    let mut moments = tokio::time::interval_at(first.into(), every);
    while is_before(end, &mut moments).await {
        let number = rng.random_range(0..kind.count);
        let request = kind.object(number, &mut rng);
        let bytes = request.key.len() + request.value.len();
        if let Err(status) = kv.put(request).await {
            // A machine that stands still for a while fails some, and is no reason to lose the rest of a long run.
            if put.failures.fetch_add(1, Ordering::Relaxed) >= MAX_FAILURES {
                return Err(status.into());
            }
            continue;
        }
        put.updates.fetch_add(1, Ordering::Relaxed);
        put.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// Compacts to what was current a period before, as kube-apiserver does.
async fn compact(
    channel: Channel,
    put: Arc<Put>,
    every: Duration,
    end: Instant,
) -> Result<(), Failure> {
    let mut kv = kv(channel);
    let mut moments = tokio::time::interval_at((Instant::now() + every).into(), every);
    let mut previous = None;
    while is_before(end, &mut moments).await {
        let Ok(answer) = kv.range(get("/registry/pods/")).await else {
            put.failures.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let Some(header) = answer.into_inner().header else {
            return wrong("a range was answered without a revision");
        };
        if let Some(revision) = previous.replace(header.revision) {
            let physical = false;
            let request = CompactionRequest { revision, physical };
            if kv.compact(request).await.is_err() {
                put.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}

/// Waits for the next moment, and not beyond the end. Returns whether it came.
async fn is_before(end: Instant, moments: &mut Interval) -> bool {
    let end = end.into();
    timeout_at(end, moments.tick())
        .await
        .is_ok_and(|moment| moment < end)
}

fn get(key: &'static str) -> RangeRequest {
    RangeRequest {
        key: key.into(),
        ..Default::default()
    }
}

async fn finish(tasks: &mut JoinSet<Result<(), Failure>>) -> Result<(), Failure> {
    while let Some(done) = tasks.join_next().await {
        done.map_err(|error| Failure::Machine(error.to_string()))??;
    }
    Ok(())
}
