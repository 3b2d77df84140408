//! Measures the effect on clients when many leases end at once: one puts, one keeps a lease alive, each with one call
//! at a time, and a watch sees the keys go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use etcd_proto::etcdserverpb::lease_client::LeaseClient;
use etcd_proto::etcdserverpb::watch_client::WatchClient;
use etcd_proto::etcdserverpb::watch_request::RequestUnion;
use etcd_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, PutRequest, WatchCreateRequest, WatchRequest,
};
use etcd_proto::mvccpb::event::EventType;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::args::ExpiryShape;
use crate::failure::{Failure, wrong};
use crate::histogram::Histogram;
use crate::keys::{KeyMaker, prefix_end};
use crate::meter::Meter;
use crate::target::{Target, kv};

/// Calls under way while leases and keys are made.
const SETTERS: usize = 64;
/// A lease is evaluated and written before the watch shows it, within this.
const LEAD: Duration = Duration::from_millis(200);
/// Puts before the leases end and after the last is gone.
const QUIET: Duration = Duration::from_secs(3);
/// The longest time that a lease may stay after its TTL.
const TIMEOUT: Duration = Duration::from_secs(120);
/// The TTL of the lease that is kept alive: longer than any run.
const LONG_TTL_S: i64 = 3600;
/// Keep-alives that are sent before the first is answered.
const RENEWALS_AHEAD: usize = 256;
const VALUE: &[u8] = &[b'v'; 64];

/// The time at which a call was sent, and its duration.
type Sample = (Instant, Duration);

pub const HEADING: &str = "\
| server | leases x keys | gone within | server CPU | calls | before p50/p99/max ms | during | after |
|---|---|---|---|---|---|---|---|";

pub fn run(target: &Target, shape: &ExpiryShape) -> Result<String, Failure> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::Machine(format!("no threads: {error}")))?;
    runtime.block_on(measure(target, shape))
}

async fn measure(target: &Target, shape: &ExpiryShape) -> Result<String, Failure> {
    let prefix = KeyMaker::new().prefix();
    let leases = set_up(target, shape, &prefix).await?;
    let watching = tokio::spawn(watch_deletions(
        target.connect().await?,
        prefix,
        leases.len() * shape.keys,
    ));
    let renewed = renew(target.connect().await?, leases.clone()).await?;
    let is_over = Arc::new(AtomicBool::new(false));
    let puts = tokio::spawn(put_until(target.connect().await?, is_over.clone()));
    let renewals = tokio::spawn(keep_alive_until(target.connect().await?, is_over.clone()));
    let ttl = Duration::from_secs(shape.ttl_s.unsigned_abs());
    tokio::time::sleep_until((renewed + ttl).into()).await;
    let meter = Meter::start(&target.server_pids)?;
    let gone = tokio::time::timeout(TIMEOUT, watching).await;
    let cost = meter.stop()?;
    let Ok(gone) = gone else {
        return wrong(format!(
            "leases are still there {TIMEOUT:?} after their end"
        ));
    };
    let (first, last) = joined(gone)?;
    tokio::time::sleep(QUIET).await;
    is_over.store(true, Ordering::Relaxed);
    let (puts, renewals) = (joined(puts.await)?, joined(renewals.await)?);
    let row = |calls: &str, samples: &[Sample]| {
        format!(
            "| {} | {} x {} | {} ms | {} ms | {calls} | {} |",
            target.name,
            shape.leases,
            shape.keys,
            (last - first).as_millis(),
            cost.server_cpu.map_or(0, |cpu| cpu.as_millis()),
            phases(samples, first - LEAD, last),
        )
    };
    Ok(format!(
        "{}\n{}",
        row("puts", &puts),
        row("keep-alives", &renewals)
    ))
}

/// Makes the leases and attaches the keys; returns the ids.
async fn set_up(
    target: &Target,
    shape: &ExpiryShape,
    prefix: &str,
) -> Result<Arc<Vec<i64>>, Failure> {
    let first = rand::random_range(1 << 32..i64::MAX / 2);
    let leases: Arc<Vec<i64>> = Arc::new((first..).take(shape.leases).collect());
    let (granted, put) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let channel = target.connect().await?;
    let ttl = shape.ttl_s;
    let mut setters = JoinSet::new();
    for _ in 0..SETTERS {
        let (channel, leases, granted) = (channel.clone(), leases.clone(), granted.clone());
        setters.spawn(async move {
            let mut client = LeaseClient::new(channel);
            while let Some(&id) = leases.get(granted.fetch_add(1, Ordering::Relaxed)) {
                client.lease_grant(LeaseGrantRequest { ttl, id }).await?;
            }
            Ok(())
        });
    }
    finish(&mut setters).await?;
    for _ in 0..SETTERS {
        let (channel, leases, put) = (channel.clone(), leases.clone(), put.clone());
        let (prefix, total) = (prefix.to_owned(), shape.leases * shape.keys);
        setters.spawn(async move {
            let mut client = kv(channel);
            loop {
                let at = put.fetch_add(1, Ordering::Relaxed);
                if at >= total {
                    return Ok(());
                }
                let request = PutRequest {
                    key: format!("{prefix}{at:08}").into(),
                    value: Bytes::from_static(VALUE),
                    lease: leases[at % leases.len()],
                    ..Default::default()
                };
                client.put(request).await?;
            }
        });
    }
    finish(&mut setters).await?;
    Ok(leases)
}

async fn finish(tasks: &mut JoinSet<Result<(), Failure>>) -> Result<(), Failure> {
    while let Some(done) = tasks.join_next().await {
        joined(done)?;
    }
    Ok(())
}

fn joined<T>(done: Result<Result<T, Failure>, tokio::task::JoinError>) -> Result<T, Failure> {
    done.map_err(|error| Failure::Machine(error.to_string()))?
}

/// Renews all leases, so that they end together; returns when that began.
async fn renew(channel: Channel, leases: Arc<Vec<i64>>) -> Result<Instant, Failure> {
    let (sender, receiver) = mpsc::channel(RENEWALS_AHEAD);
    let count = leases.len();
    let started = Instant::now();
    tokio::spawn(async move {
        for &id in leases.iter() {
            if sender.send(LeaseKeepAliveRequest { id }).await.is_err() {
                return;
            }
        }
    });
    let mut answers = LeaseClient::new(channel)
        .lease_keep_alive(ReceiverStream::new(receiver))
        .await?
        .into_inner();
    for _ in 0..count {
        match answers.next().await.transpose()? {
            Some(answer) if answer.ttl > 0 => {}
            _ => return wrong("a lease ended before all were made: give them a longer --ttl-s"),
        }
    }
    Ok(started)
}

/// Returns when the first and the last of the keys went.
async fn watch_deletions(
    channel: Channel,
    prefix: String,
    keys: usize,
) -> Result<(Instant, Instant), Failure> {
    let create = WatchCreateRequest {
        range_end: prefix_end(&prefix),
        key: prefix.into(),
        ..Default::default()
    };
    let request = WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(create)),
    };
    // Pending afterwards: the end of the requests may end the stream.
    let requests = tokio_stream::once(request).chain(tokio_stream::pending());
    let mut events = WatchClient::new(channel)
        .max_decoding_message_size(usize::MAX)
        .watch(requests)
        .await?
        .into_inner();
    let (mut first, mut gone) = (None, 0);
    while gone < keys {
        let Some(answer) = events.next().await.transpose()? else {
            return wrong("the watch ended");
        };
        let deletions = answer
            .events
            .iter()
            .filter(|e| e.r#type() == EventType::Delete);
        gone += deletions.count();
        if gone > 0 {
            first.get_or_insert_with(Instant::now);
        }
    }
    let last = Instant::now();
    Ok((first.unwrap_or(last), last))
}

async fn put_until(channel: Channel, is_over: Arc<AtomicBool>) -> Result<Vec<Sample>, Failure> {
    let (mut client, mut keys) = (kv(channel), KeyMaker::new());
    let mut samples = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let request = PutRequest {
            key: keys.anywhere(),
            value: Bytes::from_static(VALUE),
            ..Default::default()
        };
        let sent = Instant::now();
        client.put(request).await?;
        samples.push((sent, sent.elapsed()));
    }
    Ok(samples)
}

async fn keep_alive_until(
    channel: Channel,
    is_over: Arc<AtomicBool>,
) -> Result<Vec<Sample>, Failure> {
    let mut client = LeaseClient::new(channel);
    let grant = LeaseGrantRequest {
        ttl: LONG_TTL_S,
        id: 0,
    };
    let id = client.lease_grant(grant).await?.into_inner().id;
    let (sender, receiver) = mpsc::channel(1);
    let requests = ReceiverStream::new(receiver);
    // etcd sends the head of its answer with the first message.
    let _ = sender.send(LeaseKeepAliveRequest { id }).await;
    let mut answers = client.lease_keep_alive(requests).await?.into_inner();
    answers.next().await.transpose()?;
    let mut samples = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let sent = Instant::now();
        let _ = sender.send(LeaseKeepAliveRequest { id }).await;
        if answers.next().await.transpose()?.is_none() {
            return wrong("the stream of keep-alives ended");
        }
        samples.push((sent, sent.elapsed()));
        // Enough to see a wait, too few to be a load.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(samples)
}

/// The latencies of the calls before, during and after a time, as cells of a table.
fn phases(samples: &[Sample], from: Instant, to: Instant) -> String {
    let mut phases = [const { Vec::new() }; 3];
    for &(sent, took) in samples {
        let phase = match () {
            () if sent + took < from => 0,
            () if sent <= to => 1,
            () => 2,
        };
        if sent + QUIET > from {
            phases[phase].push(took);
        }
    }
    phases.each_ref().map(|took| describe(took)).join(" | ")
}

fn describe(took: &[Duration]) -> String {
    let mut histogram = Histogram::default();
    took.iter().for_each(|took| histogram.record(*took));
    let ms = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1000.0);
    let max = took.iter().max().copied().unwrap_or_default();
    let [p50, p99] = [0.5, 0.99].map(|quantile| ms(histogram.quantile(quantile)));
    format!("{p50} / {p99} / {}", ms(max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_belongs_to_the_expiry_when_it_overlaps_it() {
        let start = Instant::now() + QUIET;
        let at = |ms| start + Duration::from_millis(ms);
        let ms = Duration::from_millis;
        let samples = [
            (at(0), ms(1)),
            (at(5), ms(20)),
            (at(30), ms(3)),
            (at(41), ms(2)),
        ];
        let cells = phases(&samples, at(10), at(40));
        let maxima: Vec<_> = cells
            .split(" | ")
            .map(|cell| cell.rsplit(' ').next())
            .collect();
        assert_eq!(maxima, [Some("1.00"), Some("20.00"), Some("2.00")]);
    }
}
