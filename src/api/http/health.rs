//! `/health`, `/livez` and `/readyz`.
//!
//! A serializable read uses the index in memory. A linearizable one asks the writer, and through it
//! the engine: on one node, these are the parts that can fail.
//!
//! `/readyz` is true when a write could succeed, `/livez` false when a restart could help. For both there are
//! checks that etcd does not have; docs/compat.md names them.

use std::{
    sync::atomic::Ordering,
    time::{Duration, UNIX_EPOCH},
};

use axum::{
    Router,
    extract::{RawQuery, State},
    http::StatusCode,
    middleware::from_fn,
    response::{IntoResponse, Response},
    routing::any,
};
use bytes::Bytes;
use etcd_proto::etcdserverpb::{AlarmMember, AlarmType, RangeRequest};
use etcd_state::requests::RequestError;
use stopping::warn;
use telemetry::metrics::HEALTH_CHECKS;

use super::{headers::only_get, metrics::Sources, query::Query, text};
use crate::{api::status::status, cluster::status::judge, store::Store};

/// A part of `/livez` or `/readyz`, which is also served by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
    /// The engine of this node answers.
    Engine,
    /// The index holds what was committed before this node started.
    Loaded,
    /// A write would be taken, by the leader wherever it is.
    Writable,
}

const LIVEZ: &[Check] = &[Check::SerializableRead, Check::Engine];
const READYZ: &[Check] = &[
    Check::DataCorruption,
    Check::SerializableRead,
    Check::LinearizableRead,
    Check::NonLearner,
    Check::Loaded,
    Check::Writable,
];

/// The longest that a check may take: a little more than a request may.
const CHECK_TIMEOUT: Duration = Duration::from_secs(8);

/// The longest that the engine may be silent. A disk that stalls holds it up for seconds; an engine
/// that leads and does not recover within a minute ends the process by itself.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(60);

/// The result of one check.
pub(super) type Finding = (Check, Result<(), String>);

/// All checks of `/readyz`, none of which may take longer than `timeout`.
pub(super) async fn readiness(store: &Store, timeout: Duration) -> Vec<Finding> {
    run_all(store, READYZ.iter().copied(), timeout).await
}

/// Runs the checks at the same time, since several may wait for the same thing.
async fn run_all(
    store: &Store,
    checks: impl Iterator<Item = Check>,
    timeout: Duration,
) -> Vec<Finding> {
    let running: Vec<_> = checks
        .map(|check| {
            let store = store.clone();
            let run = async move { tokio::time::timeout(timeout, check.run(&store)).await };
            (check, tokio::spawn(run))
        })
        .collect();
    let mut findings = Vec::with_capacity(running.len());
    for (check, running) in running {
        let result = match running.await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(format!("no answer within {} s", timeout.as_secs_f64())),
            Err(_) => Err("the server stops".to_owned()),
        };
        findings.push((check, result));
    }
    findings
}

/// The words for a state that is not ready: those of the status page, for people who look at a probe.
async fn verdict(sources: &Sources, failed: &str) -> String {
    let store = &sources.store;
    let now_s = UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
    let seen = sources.observed.cluster.look(now_s.cast_signed()).await;
    let report = seen.as_ref().map(|seen| &*seen.report);
    let verdict = judge(report, store.is_loaded(), Some(failed));
    let section = verdict.section.unwrap_or("Health");
    let remedy = verdict.remedy.unwrap_or_default();
    format!(
        "{}. What to do: {remedy} (docs/operations.md, \"{section}\")\n",
        verdict.summary
    )
}

pub(super) fn routes(sources: Sources) -> Router {
    let mut router = Router::new().route("/health", any(health));
    for (path, checks) in [("/livez", LIVEZ), ("/readyz", READYZ)] {
        router = router.route(
            path,
            any(
                async move |State(sources): State<Sources>, RawQuery(query): RawQuery| {
                    let query = Query::new(query);
                    let is_asked = |check: &&Check| !query.lists("exclude", check.name());
                    report(&sources, checks.iter().filter(is_asked), &query).await
                },
            ),
        );
        for check in checks {
            router = router.route(
                &format!("{path}/{}", check.name()),
                any(
                    async move |State(sources): State<Sources>, RawQuery(query): RawQuery| {
                        report(&sources, [check], &Query::new(query)).await
                    },
                ),
            );
        }
    }
    router.route_layer(from_fn(only_get)).with_state(sources)
}

/// Runs the checks; says what they found if one failed, or if the client wants to know.
async fn report(
    sources: &Sources,
    checks: impl IntoIterator<Item = &Check>,
    query: &Query,
) -> Response {
    let mut findings = String::new();
    let mut failed = None;
    let checks: Vec<Check> = checks.into_iter().copied().collect();
    let is_whole = checks.len() > 1;
    for (check, result) in run_all(&sources.store, checks.into_iter(), CHECK_TIMEOUT).await {
        let name = check.name();
        match result {
            Ok(()) => findings += &format!("[+]{name} ok\n"),
            Err(reason) => {
                warn!(check = name, reason, "a health check failed");
                findings += &format!("[-]{name} failed: {reason}\n");
                failed.get_or_insert_with(|| format!("{name}: {reason}"));
            }
        }
    }
    if let Some(failed) = failed {
        // Without the flag the text is etcd's.
        if is_whole && query.has("verbose") {
            findings += &verdict(sources, &failed).await;
        }
        return text(StatusCode::SERVICE_UNAVAILABLE, findings + "\n");
    }
    if !query.has("verbose") {
        findings.clear();
    }
    text(StatusCode::OK, findings + "ok\n")
}

impl Check {
    pub(super) fn name(self) -> &'static str {
        match self {
            Check::DataCorruption => "data_corruption",
            Check::SerializableRead => "serializable_read",
            Check::LinearizableRead => "linearizable_read",
            Check::NonLearner => "non_learner",
            Check::Engine => "engine",
            Check::Loaded => "loaded",
            Check::Writable => "writable",
        }
    }

    async fn run(self, store: &Store) -> Result<(), String> {
        match self {
            Check::DataCorruption if alarms(store).contains(&AlarmType::Corrupt) => {
                Err("alarm activated: CORRUPT".to_owned())
            }
            Check::SerializableRead => read(store).map_err(reason),
            // Requests would wait until it is.
            Check::LinearizableRead | Check::Loaded | Check::Writable if !store.is_loaded() => {
                Err(loading(store))
            }
            Check::LinearizableRead => read_after_all_writes(store).await.map_err(reason),
            Check::Engine => judge_silence(store.engine_silent_for()),
            Check::Writable => is_writable(store).await,
            // Every node that serves has a vote.
            Check::DataCorruption | Check::NonLearner | Check::Loaded => Ok(()),
        }
    }
}

fn reason(error: RequestError) -> String {
    status(error).message().to_owned()
}

fn judge_silence(silent: Duration) -> Result<(), String> {
    match silent > ENGINE_TIMEOUT {
        true => Err(format!(
            "dqlite has not answered for {} s",
            silent.as_secs()
        )),
        false => Ok(()),
    }
}

fn loading(store: &Store) -> String {
    let metrics = store.metrics();
    let rows = metrics.take_over_rows.load(Ordering::Relaxed);
    let done = metrics.take_over_done_rows.load(Ordering::Relaxed);
    match rows > done {
        true => format!("converting the database to another schema: {done} of {rows} rows"),
        false => "the store is being loaded".to_owned(),
    }
}

async fn is_writable(store: &Store) -> Result<(), String> {
    let error = match store.probe_write().await {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    let cause = match error {
        RequestError::NoSpace if alarms(store).contains(&AlarmType::Nospace) => {
            " (alarm activated: NOSPACE)"
        }
        RequestError::NoSpace if store.is_disk_low() => " (the disk is low)",
        _ => "",
    };
    Err(reason(error) + cause)
}

fn read(store: &Store) -> Result<(), RequestError> {
    let request = RangeRequest {
        key: Bytes::from_static(b"\0"),
        limit: 1,
        keys_only: true,
        ..RangeRequest::default()
    };
    store.range(&request).map(drop)
}

async fn read_after_all_writes(store: &Store) -> Result<(), RequestError> {
    match store.pages().await {
        // Reads go on without space.
        Ok(_) | Err(RequestError::NoSpace) => read(store),
        Err(error) => Err(error),
    }
}

/// Returns the alarms that any member has raised.
fn alarms(store: &Store) -> Vec<AlarmType> {
    let members = store.settings().alarms(AlarmType::None);
    members.iter().map(AlarmMember::alarm).collect()
}

async fn health(State(sources): State<Sources>, RawQuery(query): RawQuery) -> Response {
    match find_illness(&sources.store, &Query::new(query)).await {
        None => {
            HEALTH_CHECKS.succeeded.increment();
            r#"{"health":"true","reason":""}"#.into_response()
        }
        Some(reason) => {
            HEALTH_CHECKS.failed.increment();
            warn!(reason, "the health check failed");
            let body = format!("{{\"health\":\"false\",\"reason\":\"{reason}\"}}\n");
            text(StatusCode::SERVICE_UNAVAILABLE, body)
        }
    }
}

/// Returns the reason why the store is unhealthy, in text that needs no escaping in JSON.
async fn find_illness(store: &Store, query: &Query) -> Option<String> {
    let alarm = |alarm: AlarmType| format!("ALARM {}", alarm.as_str_name());
    let is_excluded = |alarm: AlarmType| query.lists("exclude", alarm.as_str_name());
    if let Some(raised) = alarms(store)
        .into_iter()
        .find(|raised| !is_excluded(*raised))
    {
        return Some(alarm(raised));
    }
    let result = if query.first("serializable") == Some("true") {
        read(store)
    } else {
        store.pages().await.map(drop)
    };
    let is_low = store.leads() && store.is_disk_low();
    match result {
        // Writes are refused for the same reason as on a full disk.
        Ok(()) if is_low && !is_excluded(AlarmType::Nospace) => Some(alarm(AlarmType::Nospace)),
        Ok(()) => None,
        // The disk is full, which needs no alarm to be so.
        Err(RequestError::NoSpace) if is_excluded(AlarmType::Nospace) => None,
        Err(RequestError::NoSpace) => Some(alarm(AlarmType::Nospace)),
        Err(error) => Some(format!("RANGE ERROR:{}", reason(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_given_a_minute() {
        assert_eq!(judge_silence(ENGINE_TIMEOUT), Ok(()));
        let error = judge_silence(ENGINE_TIMEOUT + Duration::from_millis(1001));
        assert_eq!(error, Err("dqlite has not answered for 61 s".to_owned()));
    }
}
