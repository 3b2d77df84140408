//! The content of the page, as JSON. Its names are no interface: scripts use `/metrics`, and
//! `k8s-dqlite status --json`.

use std::{
    sync::atomic::Ordering,
    time::{Duration, UNIX_EPOCH},
};

use dqlite::wire::Role;
use etcd_proto::etcdserverpb::AlarmMember;
use serde_json::{Value, json};
use telemetry::metrics::{CALLS, ProcessUse};

use crate::{
    api::http::{health::readiness, metrics::Sources},
    cluster::status::judge,
    monitoring::{Point, SAMPLE_INTERVAL},
};

/// The timeout of a check. After it the page says that the check has not answered.
const CHECK_TIMEOUT: Duration = Duration::from_millis(1500);

/// Slow watchers that are listed.
const MAX_SLOW: usize = 8;

pub(super) async fn write(sources: &Sources, since_ms: u64) -> Value {
    let now_ms = UNIX_EPOCH.elapsed().unwrap_or_default().as_millis() as u64;
    let cluster = async {
        let seen = sources
            .observed
            .cluster
            .look((now_ms / 1000) as i64)
            .await?;
        Some((seen.report, seen.at.elapsed().as_millis() as u64))
    };
    let (cluster, checks) = tokio::join!(cluster, readiness(&sources.store, CHECK_TIMEOUT));
    let failed = checks.iter().find_map(|(check, result)| {
        let reason = result.as_ref().err()?;
        Some(format!("{}: {reason}", check.name()))
    });
    let report = cluster.as_ref().map(|(report, _)| &**report);
    let verdict = judge(report, sources.store.is_loaded(), failed.as_deref());
    let cluster = cluster
        .as_ref()
        .map(|(report, age_ms)| json!({"report": **report, "age_ms": age_ms}));
    let checks = checks.into_iter().map(
        |(check, result)| json!({"name": check.name(), "is_ok": result.is_ok(), "reason": result.err()}),
    );
    json!({
        "now_ms": now_ms,
        "sample_interval_ms": SAMPLE_INTERVAL.as_millis() as u64,
        "node": node(sources),
        "verdict": verdict,
        "checks": checks.collect::<Vec<_>>(),
        "cluster": cluster,
        "state": state(sources),
        "watches": watches(sources),
        "points": points(sources, since_ms),
    })
}

fn node(sources: &Sources) -> Value {
    let view = sources.observed.view();
    let served = sources.served.get();
    json!({
        "id": format!("{:x}", view.own_id),
        "address": view.own_address,
        "role": view.role.map(Role::name),
        "is_leader": sources.store.leads(),
        "leader_id": view.leader.as_ref().map(|(id, _)| format!("{id:x}")),
        "term": view.term,
        "cluster_id": view.cluster_id.map(|id| format!("{id:x}")),
        "version": env!("CARGO_PKG_VERSION"),
        "etcd_version": crate::api::ETCD_VERSION,
        "is_loaded": sources.store.is_loaded(),
        "client_url": served.map(|served| served.client_urls.join(", ")),
        "started_s": ProcessUse::read_without_files().start_seconds,
    })
}

fn state(sources: &Sources) -> Value {
    let (store, file_stats) = (&sources.store, sources.observed.file_stats());
    let alarms = store.settings().alarms(Default::default());
    let alarms: Vec<_> = alarms.iter().map(AlarmMember::alarm).collect();
    let metrics = store.metrics();
    let size = store.history().size();
    json!({
        "alarms": alarms.iter().map(|alarm| alarm.as_str_name()).collect::<Vec<_>>(),
        "quota_bytes": store.quota().limit_bytes(),
        "is_disk_low": store.is_disk_low(),
        "disk_low_bytes": sources.disk_low_bytes,
        "disk_bytes": file_stats.disk_bytes,
        "node_certificate_expires_s": file_stats.node_certificate_expires_s,
        "client_certificate_expires_s": file_stats.client_certificate_expires_s,
        "compact_revision": store.history().compact_revision().number().max(0),
        "compacted_s": sources.observed.compacted_s(),
        "purge_rows": metrics.purge_rows.load(Ordering::Relaxed),
        "index_revisions": size.commits,
        "superseded_bytes": size.superseded_bytes,
        "leader_changes": store.leader_changes(),
        "recoveries": metrics.recoveries.get(),
        "leases_expired": metrics.leases_expired.get(),
        "calls": CALLS.traffic().calls(),
    })
}

fn watches(sources: &Sources) -> Value {
    let Some(served) = sources.served.get() else {
        return Value::Null;
    };
    let metrics = served.hub.metrics();
    let slow = served.hub.furthest_behind(MAX_SLOW).into_iter();
    let slow = slow.map(|watcher| {
        json!({
            "stream": watcher.stream_id,
            "watch": watcher.watch_id.number(),
            "behind_revisions": watcher.behind_revisions,
        })
    });
    json!({
        "streams": metrics.streams.load(Ordering::Relaxed),
        "fallen_behind": metrics.fallen_behind.load(Ordering::Relaxed),
        "slow": slow.collect::<Vec<_>>(),
    })
}

/// Rows instead of objects: some 450 of them with the same names.
fn points(sources: &Sources, since_ms: u64) -> Value {
    let ring = sources.observed.ring();
    let rows = ring.since(since_ms).map(|point| {
        let values = point.values.iter().map(|value| json!(value.map(rounded)));
        let row = std::iter::once(json!(point.at_ms)).chain(values);
        Value::Array(row.collect())
    });
    json!({"names": Point::NAMES.as_slice(), "rows": rows.collect::<Vec<_>>()})
}

/// Rounds to three digits after the point, or to none where that is exact enough.
fn rounded(value: f64) -> f64 {
    match value.abs() < 1000.0 {
        true => (value * 1000.0).round() / 1000.0,
        false => value.round(),
    }
}
