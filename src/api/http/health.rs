//! `/health`, `/livez` and `/readyz`.
//!
//! A serializable read is one of the index in memory. A linearizable one asks the writer, and through it
//! the engine: on one node, that is what can be out of order.

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
use tracing::warn;

use super::{headers::only_get, query::Query, text};
use crate::{
    api::status::status,
    store::{RequestError, Store},
};

/// A part of `/livez` or `/readyz`, which is also served by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

const LIVEZ: &[Check] = &[Check::SerializableRead];
const READYZ: &[Check] = &[
    Check::DataCorruption,
    Check::SerializableRead,
    Check::LinearizableRead,
    Check::NonLearner,
];

pub(super) fn routes(store: Store) -> Router {
    let mut router = Router::new().route("/health", any(health));
    for (path, checks) in [("/livez", LIVEZ), ("/readyz", READYZ)] {
        router = router.route(
            path,
            any(
                async move |State(store): State<Store>, RawQuery(query): RawQuery| {
                    let query = Query::new(query);
                    let is_asked = |check: &&Check| !query.lists("exclude", check.name());
                    report(&store, checks.iter().filter(is_asked), &query).await
                },
            ),
        );
        for check in checks {
            router = router.route(
                &format!("{path}/{}", check.name()),
                any(
                    async move |State(store): State<Store>, RawQuery(query): RawQuery| {
                        report(&store, [check], &Query::new(query)).await
                    },
                ),
            );
        }
    }
    router.route_layer(from_fn(only_get)).with_state(store)
}

/// Runs the checks; says what they found if one failed, or if the client wants to know.
async fn report(
    store: &Store,
    checks: impl IntoIterator<Item = &Check>,
    query: &Query,
) -> Response {
    let mut findings = String::new();
    let mut has_failed = false;
    for check in checks {
        let name = check.name();
        match check.run(store).await {
            Ok(()) => findings += &format!("[+]{name} ok\n"),
            Err(reason) => {
                warn!(check = name, reason, "a health check failed");
                findings += &format!("[-]{name} failed: {reason}\n");
                has_failed = true;
            }
        }
    }
    if has_failed {
        return text(StatusCode::SERVICE_UNAVAILABLE, findings + "\n");
    }
    if !query.has("verbose") {
        findings.clear();
    }
    text(StatusCode::OK, findings + "ok\n")
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Check::DataCorruption => "data_corruption",
            Check::SerializableRead => "serializable_read",
            Check::LinearizableRead => "linearizable_read",
            Check::NonLearner => "non_learner",
        }
    }

    async fn run(self, store: &Store) -> Result<(), String> {
        match self {
            Check::DataCorruption if alarms(store).contains(&AlarmType::Corrupt) => {
                Err("alarm activated: CORRUPT".to_owned())
            }
            Check::SerializableRead => read(store).map_err(reason),
            Check::LinearizableRead => read_after_all_writes(store).await.map_err(reason),
            // Every node that serves has a vote.
            Check::DataCorruption | Check::NonLearner => Ok(()),
        }
    }
}

fn reason(error: RequestError) -> String {
    status(error).message().to_owned()
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

/// What is raised, by whichever member.
fn alarms(store: &Store) -> Vec<AlarmType> {
    let members = store.settings().alarms(AlarmType::None);
    members.iter().map(AlarmMember::alarm).collect()
}

async fn health(State(store): State<Store>, RawQuery(query): RawQuery) -> Response {
    match find_illness(&store, &Query::new(query)).await {
        None => r#"{"health":"true","reason":""}"#.into_response(),
        Some(reason) => {
            warn!(reason, "the health check failed");
            let body = format!("{{\"health\":\"false\",\"reason\":\"{reason}\"}}\n");
            text(StatusCode::SERVICE_UNAVAILABLE, body)
        }
    }
}

/// Nothing that it returns needs escaping in JSON.
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
    match result {
        Ok(()) => None,
        // The disk is full, which needs no alarm to be so.
        Err(RequestError::NoSpace) if is_excluded(AlarmType::Nospace) => None,
        Err(RequestError::NoSpace) => Some(alarm(AlarmType::Nospace)),
        Err(error) => Some(format!("RANGE ERROR:{}", reason(error))),
    }
}
