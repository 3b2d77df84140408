//! `/top.json` for the status page and `/metrics/top` for Prometheus: what fills the store and who uses it.
//!
//! Apart from `/metrics`, so that a scrape of that costs no walk over all keys. Only where the status page is, with
//! `--metrics-top`, and not while authentication is on: this has names of keys and of users, and nobody says here who asks.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    extract::{RawQuery, State},
    http::{StatusCode, header},
    middleware::{from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::any,
};
use bytes::Bytes;
use operator_proto::{Client, Group, TopResponse, Use};
use serde_json::json;
use telemetry::metrics::{Kind, Page};

use super::{
    headers::{WebRules, check_web, only_get},
    metrics::Sources,
    query::Query as UrlQuery,
    text,
};
use crate::top::{Query, Top};

/// Series of each metric: the largest groups, and the busiest clients. All others are one more.
const MAX_GROUPS: usize = 64;
const MAX_CLIENTS: usize = 32;

/// The label of all others.
const REST: &str = "(others)";

pub(super) fn routes(sources: Sources, rules: WebRules) -> Router {
    Router::new()
        .route("/top.json", any(document))
        .route("/metrics/top", any(metrics))
        .route_layer(from_fn(only_get))
        .route_layer(from_fn_with_state(rules, check_web))
        .with_state(sources)
}

impl Sources {
    fn top(&self) -> Result<Arc<Top>, (StatusCode, &'static str)> {
        if !self.shows_top {
            let reason =
                "not shown here: ask with k8s-dqlite top, or start this node with --metrics-top\n";
            return Err((StatusCode::FORBIDDEN, reason));
        }
        if self.store.rules().load().is_enabled {
            let reason = "authentication is on: ask as root, with k8s-dqlite top --user\n";
            return Err((StatusCode::FORBIDDEN, reason));
        }
        let served = self.served.get();
        let top = served.map(|served| served.top.clone());
        top.ok_or((
            StatusCode::SERVICE_UNAVAILABLE,
            "the store is being loaded\n",
        ))
    }

    async fn look(&self, depth: u32) -> Result<Arc<TopResponse>, Response> {
        let top = self
            .top()
            .map_err(|(status, reason)| text(status, reason))?;
        let asked = top.look(Query::new(Bytes::new(), depth)).await;
        asked.map_err(|busy| text(StatusCode::TOO_MANY_REQUESTS, format!("{busy}\n")))
    }
}

/// `depth`: the levels of keys that make a group.
async fn document(State(sources): State<Sources>, RawQuery(query): RawQuery) -> Response {
    let query = UrlQuery::new(query);
    let depth = query.first("depth").and_then(|depth| depth.parse().ok());
    let answer = match sources.look(depth.unwrap_or(0)).await {
        Ok(answer) => answer,
        Err(refusal) => return refusal,
    };
    let groups = answer.groups.iter().map(|group| {
        json!({
            "prefix": name(&group.prefix, group.is_rest),
            "keys": group.keys,
            "bytes": group.bytes,
            "changes": group.changes,
        })
    });
    let uses = answer.uses.iter().map(|used| {
        json!({
            "prefix": name(&used.prefix, used.is_rest),
            "client": used.client,
            "reads": used.reads,
            "writes": used.writes,
            "watchers": used.watchers,
        })
    });
    let clients = answer.clients.iter().map(|client| {
        json!({
            "address": address(client),
            "user": client.user,
            "agent": client.agent,
        })
    });
    let document = json!({
        "counting": answer.counting,
        "counted_ms": answer.counted_ms,
        "groups": groups.collect::<Vec<_>>(),
        "uses": uses.collect::<Vec<_>>(),
        "clients": clients.collect::<Vec<_>>(),
    });
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, document.to_string()).into_response()
}

async fn metrics(State(sources): State<Sources>) -> Response {
    let answer = match sources.look(0).await {
        Ok(answer) => answer,
        Err(refusal) => return refusal,
    };
    let mut page = Page::default();
    write_groups(&answer, &mut page);
    write_clients(&answer, &mut page);
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], page.into_text()).into_response()
}

/// The sum of what all clients do in one group, or one client in all groups.
#[derive(Default)]
struct Sum {
    group: Group,
    reads: u64,
    writes: u64,
    written_bytes: u64,
    watchers: u64,
}

impl Sum {
    fn add(&mut self, used: &Use) {
        self.reads += used.reads;
        self.writes += used.writes;
        self.written_bytes += used.written_bytes;
        self.watchers += used.watchers;
    }

    fn merge(&mut self, other: &Self) {
        self.group.keys += other.group.keys;
        self.group.bytes += other.group.bytes;
        self.group.changes += other.group.changes;
        self.reads += other.reads;
        self.writes += other.writes;
        self.written_bytes += other.written_bytes;
        self.watchers += other.watchers;
    }
}

type Series = (&'static str, Kind, &'static str, fn(&Sum) -> u64);

fn write_groups(answer: &TopResponse, page: &mut Page) {
    let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
    for group in &answer.groups {
        let sum = sums.entry(name(&group.prefix, group.is_rest)).or_default();
        sum.group = group.clone();
    }
    for used in &answer.uses {
        let sum = sums.entry(name(&used.prefix, used.is_rest)).or_default();
        sum.add(used);
    }
    let largest = limited(sums, MAX_GROUPS, |sum| sum.group.bytes, REST);
    const SERIES: [Series; 7] = [
        (
            "k8s_dqlite_top_keys",
            Kind::Gauge,
            "Keys below a prefix.",
            |sum| sum.group.keys,
        ),
        (
            "k8s_dqlite_top_size_bytes",
            Kind::Gauge,
            "Bytes of the keys and values below a prefix.",
            |sum| sum.group.bytes,
        ),
        (
            "k8s_dqlite_top_kept_changes",
            Kind::Gauge,
            "Puts and deletions below a prefix since the compaction.",
            |sum| sum.group.changes,
        ),
        (
            "k8s_dqlite_top_watchers",
            Kind::Gauge,
            "Watchers of this node that follow keys below a prefix.",
            |sum| sum.watchers,
        ),
        (
            "k8s_dqlite_top_reads_total",
            Kind::Counter,
            "Reads below a prefix by clients of this node, while somebody looks.",
            |sum| sum.reads,
        ),
        (
            "k8s_dqlite_top_writes_total",
            Kind::Counter,
            "Writes below a prefix by clients of this node, while somebody looks.",
            |sum| sum.writes,
        ),
        (
            "k8s_dqlite_top_written_bytes_total",
            Kind::Counter,
            "Bytes of keys and values written below a prefix, while somebody looks.",
            |sum| sum.written_bytes,
        ),
    ];
    for (metric, kind, help, value) in SERIES {
        page.begin(metric, kind, help);
        for (prefix, sum) in &largest {
            if *prefix != REST || has_others(kind) {
                page.labelled(metric, &[("prefix", *prefix)], value(sum));
            }
        }
    }
}

/// Returns whether a metric has a value for the others: who they are changes, so that a counter of them would go back.
fn has_others(kind: Kind) -> bool {
    matches!(kind, Kind::Gauge)
}

fn write_clients(answer: &TopResponse, page: &mut Page) {
    let mut sums: BTreeMap<usize, Sum> = BTreeMap::new();
    for used in &answer.uses {
        sums.entry(used.client as usize).or_default().add(used);
    }
    // The place of all that are not told apart.
    let busiest = limited(sums, MAX_CLIENTS, |sum| sum.reads + sum.writes, 0);
    const SERIES: [Series; 3] = [
        (
            "k8s_dqlite_top_client_reads_total",
            Kind::Counter,
            "Reads of a client of this node, while somebody looks.",
            |sum| sum.reads,
        ),
        (
            "k8s_dqlite_top_client_writes_total",
            Kind::Counter,
            "Writes of a client of this node, while somebody looks.",
            |sum| sum.writes,
        ),
        (
            "k8s_dqlite_top_client_watchers",
            Kind::Gauge,
            "Watchers of a client of this node.",
            |sum| sum.watchers,
        ),
    ];
    for (metric, kind, help, value) in SERIES {
        page.begin(metric, kind, help);
        for (place, sum) in &busiest {
            let Some(client) = answer.clients.get(*place) else {
                continue;
            };
            if client.is_rest && !has_others(kind) {
                continue;
            }
            let labels = [
                ("address", address(client)),
                ("user", client.user.as_str()),
                ("agent", client.agent.as_str()),
            ];
            page.labelled(metric, &labels, value(sum));
        }
    }
}

/// Keeps the largest, and adds all others to that of `rest`.
fn limited<K: Ord>(
    sums: BTreeMap<K, Sum>,
    max: usize,
    size: impl Fn(&Sum) -> u64,
    rest: K,
) -> BTreeMap<K, Sum> {
    let mut sorted: Vec<_> = sums.into_iter().collect();
    sorted.sort_by_key(|(_, sum)| Reverse(size(sum)));
    let others = sorted.split_off(max.min(sorted.len()));
    let mut kept: BTreeMap<K, Sum> = sorted.into_iter().collect();
    if !others.is_empty() {
        let sum = kept.entry(rest).or_default();
        others.iter().for_each(|(_, other)| sum.merge(other));
    }
    kept
}

fn name(prefix: &str, is_rest: bool) -> &str {
    match is_rest {
        true => REST,
        false => prefix,
    }
}

fn address(client: &Client) -> &str {
    match client.address.as_str() {
        _ if client.is_rest => REST,
        "" => "unix",
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_bounded_and_nothing_is_lost() {
        let groups = (0..200_u64).map(|n| Group {
            prefix: format!("/\"{n}\\/"),
            keys: 1,
            bytes: n,
            ..Group::default()
        });
        let clients = (0..200).map(|n| Client {
            address: format!("10.0.0.{n}"),
            is_rest: n == 0,
            ..Client::default()
        });
        let uses = (0..200).map(|n| Use {
            client: n,
            reads: 1,
            watchers: 1,
            ..Use::default()
        });
        let answer = TopResponse {
            groups: groups.collect(),
            clients: clients.collect(),
            uses: uses.collect(),
            ..TopResponse::default()
        };
        let mut page = Page::default();
        write_groups(&answer, &mut page);
        write_clients(&answer, &mut page);
        let text = page.into_text();
        let of = |metric: &str| -> Vec<u64> {
            let lines = text.lines().filter(|line| line.starts_with(metric));
            lines
                .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
                .collect()
        };
        let keys = of("k8s_dqlite_top_keys{");
        assert_eq!(
            (keys.len(), keys.iter().sum::<u64>()),
            (MAX_GROUPS + 1, 200)
        );
        let reads = of("k8s_dqlite_top_client_reads_total{");
        assert!(reads.len() <= MAX_CLIENTS, "{}", reads.len());
        let watchers = of("k8s_dqlite_top_client_watchers{");
        assert_eq!(watchers.iter().sum::<u64>(), 200);
        let is_others = |line: &&str| line.contains(REST);
        let mut others = text.lines().filter(is_others);
        assert!(others.all(|line| !line.contains("_total{")), "{text}");
    }
}
