//! `/metrics`: the names that dashboards for etcd use, with their types, and what they count.

use std::collections::BTreeMap;

use serde_json::json;
use tokio::net::TcpStream;

use crate::gateway::client::{ok, post, request, stream};
use crate::harness::{Kind, Options, Server, free_port, grant, http_over, until};
use crate::nodes::trio::Trio;

parity! {
    names_and_types_are_etcds,
    calls_are_counted_by_method_and_code,
    operations_are_counted,
    gauges_follow_the_store,
    leases_are_counted,
    watchers_are_counted_while_they_watch,
    health_checks_are_counted,
}

/// Types by the names of metrics, and values by the text before them.
struct Metrics {
    types: BTreeMap<String, String>,
    values: BTreeMap<String, f64>,
}

impl Metrics {
    async fn of(server: &Server) -> Self {
        let answer = request(server, "GET", "/metrics", "", b"").await;
        assert_eq!(answer.status, 200);
        assert!(answer.headers["content-type"].starts_with("text/plain; version=0.0.4"));
        Self::parse(&String::from_utf8(answer.body).unwrap())
    }

    fn parse(text: &str) -> Self {
        let (mut types, mut values) = (BTreeMap::new(), BTreeMap::new());
        for line in text.lines() {
            if let Some(declared) = line.strip_prefix("# TYPE ") {
                let (name, kind) = declared.split_once(' ').unwrap();
                let before = types.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "{name} is declared twice");
            } else if !line.starts_with('#') {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
                // In the order of their names, as etcd has them.
                let mut labels: Vec<_> = labels.trim_end_matches('}').split(',').collect();
                labels.sort_unstable();
                let series = format!("{name}{{{}}}", labels.join(","));
                let before = values.insert(series, value.parse().unwrap());
                assert_eq!(before, None, "{line} is there twice");
            }
        }
        Self { types, values }
    }

    /// 0 for what is not there: rare things come with their first value.
    fn get(&self, name: &str) -> f64 {
        self.with(name, "")
    }

    fn with(&self, name: &str, labels: &str) -> f64 {
        let series = format!("{name}{{{labels}}}");
        self.values.get(&series).copied().unwrap_or_default()
    }

    fn handled(&self, service: &str, method: &str, kind: &str, code: &str) -> f64 {
        let labels = format!(
            r#"grpc_code="{code}",grpc_method="{method}",grpc_service="{service}",grpc_type="{kind}""#
        );
        self.with("grpc_server_handled_total", &labels)
    }
}

const TYPES: &[(&str, &[&str])] = &[
    (
        "counter",
        &[
            "etcd_debugging_lease_granted_total",
            "etcd_debugging_lease_renewed_total",
            "etcd_debugging_lease_revoked_total",
            "etcd_debugging_mvcc_events_total",
            "etcd_debugging_server_lease_expired_total",
            "etcd_mvcc_delete_total",
            "etcd_mvcc_put_total",
            "etcd_mvcc_range_total",
            "etcd_mvcc_txn_total",
            "etcd_network_client_grpc_received_bytes_total",
            "etcd_network_client_grpc_sent_bytes_total",
            "etcd_server_health_failures",
            "etcd_server_health_success",
            "etcd_server_leader_changes_seen_total",
            "etcd_server_proposals_failed_total",
            "grpc_server_handled_total",
            "grpc_server_started_total",
            "process_cpu_seconds_total",
        ],
    ),
    (
        "gauge",
        &[
            "etcd_cluster_version",
            "etcd_debugging_mvcc_compact_revision",
            "etcd_debugging_mvcc_current_revision",
            "etcd_debugging_mvcc_keys_total",
            "etcd_debugging_mvcc_pending_events_total",
            "etcd_debugging_mvcc_slow_watcher_total",
            "etcd_debugging_mvcc_total_put_size_in_bytes",
            "etcd_debugging_mvcc_watch_stream_total",
            "etcd_debugging_mvcc_watcher_total",
            "etcd_mvcc_db_total_size_in_bytes",
            "etcd_mvcc_db_total_size_in_use_in_bytes",
            "etcd_server_has_leader",
            "etcd_server_id",
            "etcd_server_is_leader",
            "etcd_server_is_learner",
            "etcd_server_proposals_applied_total",
            "etcd_server_proposals_committed_total",
            "etcd_server_proposals_pending",
            "etcd_server_quota_backend_bytes",
            "etcd_server_version",
            "os_fd_limit",
            "os_fd_used",
            "process_max_fds",
            "process_open_fds",
            "process_resident_memory_bytes",
            "process_start_time_seconds",
            "process_virtual_memory_bytes",
        ],
    ),
    (
        "histogram",
        &[
            "etcd_disk_backend_commit_duration_seconds",
            "etcd_disk_wal_fsync_duration_seconds",
        ],
    ),
];

async fn names_and_types_are_etcds(server: Server) {
    ok(&server, "/v3/kv/put", json!({"key": "YQ=="})).await;
    let metrics = Metrics::of(&server).await;
    for (kind, names) in TYPES {
        for name in *names {
            let found = metrics.types.get(*name).map(String::as_str);
            assert_eq!(found, Some(*kind), "{name}");
        }
    }
    assert_eq!(metrics.get("etcd_server_has_leader"), 1.0);
    assert_eq!(metrics.get("etcd_server_is_leader"), 1.0);
    assert_eq!(metrics.get("etcd_server_is_learner"), 0.0);
    for name in ["backend_commit", "wal_fsync"] {
        let name = format!("etcd_disk_{name}_duration_seconds");
        let count = metrics.get(&format!("{name}_count"));
        assert!(count > 0.0, "{name}");
        assert_eq!(
            metrics.with(&format!("{name}_bucket"), "le=\"+Inf\""),
            count
        );
        let bounds = (0..14).map(|step| format!("le=\"{}\"", 0.001 * f64::from(1 << step)));
        for bound in bounds {
            let series = format!("{name}_bucket{{{bound}}}");
            assert!(metrics.values.contains_key(&series), "{series}");
        }
    }
    for name in [
        "etcd_mvcc_db_total_size_in_bytes",
        "etcd_mvcc_db_total_size_in_use_in_bytes",
        "etcd_server_proposals_committed_total",
        "process_resident_memory_bytes",
        "process_open_fds",
    ] {
        assert!(metrics.get(name) > 0.0, "{name}");
    }
}

async fn calls_are_counted_by_method_and_code(server: Server) {
    let api = server.api().await;
    let before = Metrics::of(&server).await;
    for _ in 0..3 {
        api.put("a", "b").await;
    }
    api.refused(crate::harness::put("", "b")).await;
    // Through the gateway it is the same call.
    ok(&server, "/v3/kv/put", json!({"key": "YQ=="})).await;
    post(&server, "/v3/kv/put", json!({"key": "YQ==", "lease": 9})).await;
    until("all calls are counted", async || {
        let after = Metrics::of(&server).await;
        let more = |code: &str| {
            let count =
                |metrics: &Metrics| metrics.handled("etcdserverpb.KV", "Put", "unary", code);
            count(&after) - count(&before)
        };
        let labels = r#"grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary""#;
        let started = |metrics: &Metrics| metrics.with("grpc_server_started_total", labels);
        (more("OK"), more("InvalidArgument"), more("NotFound")) == (4.0, 1.0, 1.0)
            && started(&after) - started(&before) == 6.0
    })
    .await;
    let after = Metrics::of(&server).await;
    for name in ["received", "sent"] {
        let name = format!("etcd_network_client_grpc_{name}_bytes_total");
        assert!(after.get(&name) > before.get(&name), "{name}");
    }
}

async fn operations_are_counted(server: Server) {
    let before = Metrics::of(&server).await;
    for key in ["YQ==", "Yg==", "Yw=="] {
        ok(&server, "/v3/kv/put", json!({"key": key, "value": "MTIz"})).await;
    }
    ok(&server, "/v3/kv/range", json!({"key": "YQ=="})).await;
    let txn = json!({"success": [
        {"request_put": {"key": "ZA=="}},
        {"request_range": {"key": "ZA=="}},
        {"request_delete_range": {"key": "YQ=="}},
    ]});
    ok(&server, "/v3/kv/txn", txn).await;
    ok(
        &server,
        "/v3/kv/deleterange",
        json!({"key": "YQ==", "range_end": "eg=="}),
    )
    .await;
    let after = Metrics::of(&server).await;
    for (name, more) in [
        ("etcd_mvcc_put_total", 4.0),
        ("etcd_mvcc_range_total", 2.0),
        ("etcd_mvcc_delete_total", 2.0),
        ("etcd_mvcc_txn_total", 1.0),
    ] {
        assert_eq!(after.get(name) - before.get(name), more, "{name}");
    }
    let put_bytes = "etcd_debugging_mvcc_total_put_size_in_bytes";
    assert!(after.get(put_bytes) - before.get(put_bytes) >= 13.0);
}

async fn gauges_follow_the_store(server: Server) {
    for key in ["YQ==", "Yg==", "YQ=="] {
        ok(&server, "/v3/kv/put", json!({"key": key})).await;
    }
    ok(&server, "/v3/kv/deleterange", json!({"key": "Yg=="})).await;
    let metrics = Metrics::of(&server).await;
    assert_eq!(metrics.get("etcd_debugging_mvcc_current_revision"), 5.0);
    assert_eq!(metrics.get("etcd_debugging_mvcc_keys_total"), 1.0);
    ok(&server, "/v3/kv/compaction", json!({"revision": 4})).await;
    let metrics = Metrics::of(&server).await;
    assert_eq!(metrics.get("etcd_debugging_mvcc_compact_revision"), 4.0);
}

async fn leases_are_counted(server: Server) {
    for id in [7, 8] {
        ok(&server, "/v3/lease/grant", json!({"ID": id, "TTL": 600})).await;
    }
    let mut alive = stream(&server, "/v3/lease/keepalive", json!({"ID": 7})).await;
    assert_eq!(alive.result().await["ID"], "7");
    ok(&server, "/v3/lease/revoke", json!({"ID": 8})).await;
    let metrics = Metrics::of(&server).await;
    assert_eq!(metrics.get("etcd_debugging_lease_granted_total"), 2.0);
    assert_eq!(metrics.get("etcd_debugging_lease_renewed_total"), 1.0);
    assert_eq!(metrics.get("etcd_debugging_lease_revoked_total"), 1.0);
    assert_eq!(
        metrics.get("etcd_debugging_server_lease_expired_total"),
        0.0
    );
}

/// A client of the gateway that leaves takes its watchers with it.
async fn watchers_are_counted_while_they_watch(server: Server) {
    let watchers = async || {
        let metrics = Metrics::of(&server).await;
        let count = |what: &str| metrics.get(&format!("etcd_debugging_mvcc_{what}_total"));
        (count("watch_stream"), count("watcher"))
    };
    let before = watchers().await;
    assert_eq!(before, (0.0, 0.0));
    let create = json!({"create_request": {"key": "YQ=="}});
    let two = format!("{create}{create}");
    let mut watch = stream(&server, "/v3/watch", two).await;
    for _ in 0..2 {
        assert_eq!(watch.result().await["created"], true);
    }
    assert_eq!(watchers().await, (1.0, 2.0));
    ok(&server, "/v3/kv/put", json!({"key": "YQ=="})).await;
    for _ in 0..2 {
        assert_eq!(watch.result().await["events"].as_array().unwrap().len(), 1);
    }
    let events = Metrics::of(&server)
        .await
        .get("etcd_debugging_mvcc_events_total");
    assert_eq!(events, 2.0);
    drop(watch);
    until("the watchers are gone", async || {
        watchers().await == (0.0, 0.0)
    })
    .await;
}

async fn health_checks_are_counted(server: Server) {
    let successes = async || Metrics::of(&server).await.get("etcd_server_health_success");
    let before = successes().await;
    assert_eq!(
        request(&server, "GET", "/health", "", b"").await.status,
        200
    );
    assert_eq!(successes().await - before, 1.0);
}

#[tokio::test]
async fn metrics_have_an_address_of_their_own_on_request() {
    let port = free_port();
    let listen = format!("--metrics-listen=127.0.0.1:{port}");
    let options = Options::flags(&["--metrics", &listen]);
    let server = Server::start_with(Kind::K8sDqlite, options).await;
    let get = async |path: &str| {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        http_over(stream, "GET", path).await
    };
    let answer = get("/metrics").await;
    assert_eq!(answer.status, 200);
    let metrics = Metrics::parse(&answer.body);
    assert_eq!(metrics.get("etcd_server_has_leader"), 1.0);
    assert_eq!(get("/v3/kv/range").await.status, 404);
    assert_eq!(Metrics::of(&server).await.get("etcd_server_is_leader"), 1.0);
}

#[tokio::test]
async fn a_call_whose_client_leaves_counts_as_cancelled() {
    let server = Server::start(Kind::K8sDqlite).await;
    let create = json!({"create_request": {"key": "YQ=="}});
    let mut watch = stream(&server, "/v3/watch", create).await;
    assert_eq!(watch.result().await["created"], true);
    drop(watch);
    until("the call is counted", async || {
        let metrics = Metrics::of(&server).await;
        metrics.handled("etcdserverpb.Watch", "Watch", "bidi_stream", "Canceled") == 1.0
    })
    .await;
}

/// The queue of a stream is bounded, and the socket's buffers are: beyond that the watcher waits for its
/// client, and not the events in memory.
#[tokio::test]
async fn a_slow_client_of_the_gateway_falls_behind_and_loses_nothing() {
    const PUTS: u64 = 300;
    const VALUE_BYTES: usize = 96 * 1024;
    let server = Server::start(Kind::K8sDqlite).await;
    let create = json!({"create_request": {"key": "YQ=="}});
    let mut watch = stream(&server, "/v3/watch", create).await;
    assert_eq!(watch.result().await["created"], true);
    let api = server.api().await;
    for _ in 0..PUTS {
        api.put("a", &"x".repeat(VALUE_BYTES)).await;
    }
    let behind = "k8s_dqlite_watchers_fallen_behind_total";
    until("the watcher fell behind", async || {
        Metrics::of(&server).await.get(behind) > 0.0
    })
    .await;
    let mut version = 0;
    while version < PUTS {
        let response = watch.result().await;
        for event in response["events"].as_array().unwrap() {
            version += 1;
            assert_eq!(event["kv"]["version"], version.to_string());
        }
    }
}

#[tokio::test]
async fn each_of_three_nodes_tells_its_place_and_its_certificate() {
    let trio = Trio::start_with(&Options::flags(&["--enable-tls=true"])).await;
    let leader = trio.leader().await;
    let [near, _] = trio.others(leader);
    trio.nodes[near].api().await.put("a", "1").await;
    trio.nodes[leader].api().await.ask(grant(600)).await;
    let name = "k8s_dqlite_certificate_expiry_timestamp_seconds";
    for (at, node) in trio.nodes.iter().enumerate() {
        let mut metrics = Metrics::of(node).await;
        until("nodes and files are known", async || {
            metrics = Metrics::of(node).await;
            metrics.with("k8s_dqlite_nodes", r#"role="voter""#) == 3.0
                && metrics.with(name, r#"shown_to="nodes""#) > 0.0
                && metrics.get("k8s_dqlite_log_bytes") > 0.0
        })
        .await;
        assert_eq!(metrics.with("k8s_dqlite_role", r#"role="voter""#), 1.0);
        assert_eq!(metrics.with("k8s_dqlite_role", r#"role="spare""#), 0.0);
        let peers = metrics.values.keys();
        let peers = peers.filter(|series| series.starts_with("etcd_network_known_peers{"));
        assert_eq!(peers.count(), 2);
        let leads = f64::from(u8::from(at == leader));
        assert_eq!(metrics.get("etcd_server_is_leader"), leads);
        assert_eq!(
            metrics.get("k8s_dqlite_leases"),
            leads,
            "followers do not know"
        );
        assert_eq!(metrics.get("k8s_dqlite_loaded"), 1.0);
        assert!(metrics.get("k8s_dqlite_raft_term") >= 1.0);
        assert!(metrics.get("k8s_dqlite_engine_silent_seconds") < 10.0);
        assert!(metrics.get("k8s_dqlite_disk_free_bytes") > 0.0);
        let commits = metrics.get("etcd_disk_backend_commit_duration_seconds_count");
        assert_eq!(commits > 0.0, at == leader, "commits are the leader's");
        for (name, label) in [("received", "From"), ("sent", "To")] {
            let name = format!("etcd_network_peer_{name}_bytes_total");
            let bytes = metrics.with(&name, &format!("{label}=\"0\""));
            assert!(bytes > 1000.0, "{name} {bytes}");
        }
    }
}

#[tokio::test]
async fn refused_writes_are_counted_by_the_reason() {
    let options = Options::flags(&["--quota-backend-bytes=400000"]);
    let server = Server::start_with(Kind::K8sDqlite, options).await;
    let api = server.api().await;
    let value = vec![b'x'; 100_000];
    while api
        .try_ask(crate::harness::put("big", value.clone()))
        .await
        .is_ok()
    {}
    api.refused(crate::harness::put("big", value)).await;
    let metrics = Metrics::of(&server).await;
    let refused = |reason: &str| {
        metrics.with(
            "k8s_dqlite_writes_refused_total",
            &format!("reason=\"{reason}\""),
        )
    };
    assert_eq!(refused("corrupt") + refused("queue_full"), 0.0);
    assert!(refused("no_space") >= 1.0);
    assert_eq!(metrics.with("k8s_dqlite_alarms", r#"alarm="NOSPACE""#), 1.0);
    assert!(metrics.get("k8s_dqlite_write_duration_seconds_count") >= 2.0);
}

/// Names of ours and of etcd's in an expression. A histogram's series have an ending.
fn metrics_in(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter(|word| {
        let families = ["etcd_", "k8s_dqlite_", "grpc_server_", "process_"];
        families.iter().any(|family| word.starts_with(family))
    });
    names.map(|name| name.strip_suffix("_bucket").unwrap_or(name))
}

fn strings_at<'a>(document: &'a serde_json::Value, key: &str, found: &mut Vec<&'a str>) {
    match document {
        serde_json::Value::Object(map) => {
            for (name, value) in map {
                match value.as_str() {
                    Some(text) if name == key => found.push(text),
                    _ => strings_at(value, key, found),
                }
            }
        }
        serde_json::Value::Array(list) => {
            for value in list {
                strings_at(value, key, found);
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn the_dashboard_and_the_alerts_ask_for_metrics_that_there_are() {
    // Some are there with the first call, or where backups are made, or an archive is written.
    let (backups, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let flags = [
        format!("--backup-dir={}", backups.path().display()),
        format!("--archive=file://{}", archive.path().display()),
    ];
    let options = Options::flags(&flags.each_ref().map(String::as_str));
    let server = Server::start_with(Kind::K8sDqlite, options).await;
    server.api().await.put("a", "1").await;
    let metrics = Metrics::of(&server).await;
    let read = |name: &str| {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/dashboards/");
        std::fs::read_to_string(format!("{path}{name}")).unwrap()
    };
    let dashboard: serde_json::Value = serde_json::from_str(&read("grafana.json")).unwrap();
    let alerts: serde_json::Value = serde_yaml::from_str(&read("alerts.yaml")).unwrap();
    let mut expressions = Vec::new();
    strings_at(&dashboard, "expr", &mut expressions);
    strings_at(&dashboard, "query", &mut expressions);
    let on_the_dashboard = expressions.len();
    strings_at(&alerts, "expr", &mut expressions);
    assert!(on_the_dashboard > 20 && expressions.len() > on_the_dashboard + 5);
    for expression in expressions {
        for name in metrics_in(expression) {
            assert!(metrics.types.contains_key(name), "{name} in {expression}");
        }
    }
}
