//! Measures what a server uses while clients only watch: they hold watches open that are to be notified of progress, as
//! kube-apiserver does, and nothing is written.

use std::time::{Duration, Instant};

use bytes::Bytes;
use etcd_proto::etcdserverpb::{
    WatchCreateRequest, WatchRequest, watch_client::WatchClient, watch_request::RequestUnion,
};
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tonic::transport::Channel;

use crate::args::IdleShape;
use crate::crew::{GRACE, Schedule};
use crate::failure::{Failure, wrong};
use crate::keys::prefix_end;
use crate::meter::Meter;
use crate::target::Target;

/// Connections that the watches share.
const CONNS: usize = 8;
/// The time that a server has for what it does after it was started and the watches were opened.
const SETTLING_TIME: Duration = Duration::from_secs(5);

pub const HEADING: &str = "\
| server | watches | CPU, % of a core | switches/s | written KiB/min | RSS MiB |
|---|---|---|---|---|---|";

pub fn run(target: &Target, shape: &IdleShape, schedule: &Schedule) -> Result<String, Failure> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::Machine(format!("no threads: {error}")))?;
    runtime.block_on(measure(target, shape, schedule))
}

async fn measure(
    target: &Target,
    shape: &IdleShape,
    schedule: &Schedule,
) -> Result<String, Failure> {
    let mut watches = JoinSet::new();
    let mut channels = Vec::new();
    for _ in 0..CONNS.min(shape.watches) {
        channels.push(target.connect().await?);
    }
    for number in 0..shape.watches {
        let channel = channels[number % channels.len()].clone();
        watches.spawn(watch(channel, number));
    }
    sleep_beside(&mut watches, SETTLING_TIME).await?;
    let meter = Meter::start(&target.server_pids)?;
    sleep_beside(&mut watches, schedule.length).await?;
    let cost = meter.stop()?;
    let (Some(cpu), Some(switches), Some(written), Some(rss)) = (
        cost.server_cpu,
        cost.server_switches,
        cost.server_written_bytes,
        cost.server_rss_bytes,
    ) else {
        return wrong("--server-pid is needed, of processes of this user");
    };
    let elapsed_s = cost.elapsed.as_secs_f64();
    Ok(format!(
        "| {} | {} | {:.2} | {:.0} | {:.0} | {:.0} |",
        target.name,
        shape.watches,
        100.0 * cpu.as_secs_f64() / elapsed_s,
        switches as f64 / elapsed_s,
        written as f64 / 1024.0 / (elapsed_s / 60.0),
        rss as f64 / 1_048_576.0,
    ))
}

/// Waits, unless a watch ends meanwhile.
async fn sleep_beside(
    watches: &mut JoinSet<Result<(), Failure>>,
    length: Duration,
) -> Result<(), Failure> {
    let until = tokio::time::Instant::from_std(Instant::now() + length);
    match tokio::time::timeout_at(until, watches.join_next()).await {
        Err(_) | Ok(None) => {
            tokio::time::sleep_until(until).await;
            Ok(())
        }
        Ok(Some(ended)) => {
            ended.map_err(|error| Failure::Machine(error.to_string()))??;
            wrong("a watch stream ended by itself")
        }
    }
}

/// Holds one watch open.
async fn watch(channel: Channel, number: usize) -> Result<(), Failure> {
    let prefix = format!("/registry/resource{number:03}/");
    let create = WatchCreateRequest {
        key: Bytes::copy_from_slice(prefix.as_bytes()),
        range_end: prefix_end(&prefix),
        progress_notify: true,
        ..Default::default()
    };
    let request = WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(create)),
    };
    // The request side stays open: its end would end the watch.
    let requests = tokio_stream::once(request).chain(tokio_stream::pending());
    let mut client = WatchClient::new(channel);
    let opening = client.watch(requests);
    let Ok(opened) = tokio::time::timeout(GRACE, opening).await else {
        return wrong("a watch was not created");
    };
    let mut events = opened?.into_inner();
    while let Some(response) = events.message().await? {
        if response.canceled {
            return wrong(format!("a watch was cancelled: {}", response.cancel_reason));
        }
    }
    wrong("a watch stream ended by itself")
}
