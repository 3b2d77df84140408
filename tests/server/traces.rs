//! Traces and metrics of OpenTelemetry: at a collector, and in files.

mod collector;

use std::collections::BTreeSet;

use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use serde_json::Value;
use tonic::Request;

use crate::{harness::*, nodes::trio::Trio};
use collector::{Collector, attribute};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn traced<T>(message: T, trace: &str, flags: &str) -> Request<T> {
    let mut request = Request::new(message);
    let context = format!("00-{trace}-{PARENT}-{flags}");
    request
        .metadata_mut()
        .insert("traceparent", context.parse().unwrap());
    request
}

fn otel(address: &str) -> Options {
    Options::flags(&["--otel", &format!("--otel-listen={address}")])
}

fn child<'a>(spans: &'a [Span], parent: &Span, name: &str) -> &'a Span {
    let found = spans
        .iter()
        .find(|span| span.parent_span_id == parent.span_id && span.name == name);
    found.unwrap_or_else(|| panic!("{name} under {} in {spans:#?}", parent.name))
}

fn assert_within(inner: &Span, outer: &Span) {
    // The times of steps are computed from two clocks.
    const SLACK_NS: u64 = 1_000_000;
    let name = &inner.name;
    assert!(inner.start_time_unix_nano <= inner.end_time_unix_nano);
    assert!(
        inner.start_time_unix_nano + SLACK_NS >= outer.start_time_unix_nano,
        "{name}"
    );
    assert!(
        inner.end_time_unix_nano <= outer.end_time_unix_nano + SLACK_NS,
        "{name}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_traced_to_its_commit() {
    let collector = Collector::start().await;
    let mut server = Server::start_with(Kind::K8sDqlite, otel(collector.address())).await;
    let mut api = server.api().await;
    api.kv
        .put(traced(put("/registry/a", "secret"), TRACE, "01"))
        .await
        .unwrap();
    api.kv
        .range(traced(get("/registry/a"), TRACE, "01"))
        .await
        .unwrap();
    assert!(server.terminate().await.success());
    let spans = collector.spans();
    let of_trace: Vec<Span> = spans
        .iter()
        .filter(|span| hex::encode(&span.trace_id) == TRACE)
        .cloned()
        .collect();
    let call = |name: &str| {
        let called = of_trace.iter().find(|span| span.name == name);
        let called = called.unwrap_or_else(|| panic!("{name} in {spans:#?}"));
        assert_eq!(hex::encode(&called.parent_span_id), PARENT);
        assert_eq!(called.kind, SpanKind::Server as i32);
        assert_eq!(attribute(called, "rpc.grpc.status_code"), "0");
        called
    };
    let put_call = call("etcdserverpb.KV/Put");
    let operation = child(&of_trace, put_call, "put");
    assert_eq!(attribute(operation, "key"), "/registry/a");
    assert_eq!(attribute(operation, "value_size"), "6");
    assert_within(operation, put_call);
    for step in ["queue", "evaluate", "batch", "commit"] {
        assert_within(child(&of_trace, operation, step), operation);
    }
    let commit = child(&of_trace, operation, "commit");
    let batch = spans
        .iter()
        .find(|span| span.span_id == commit.links[0].span_id);
    let batch = batch.expect("the batch is exported too");
    assert_eq!(
        (batch.name.as_str(), batch.parent_span_id.len()),
        ("batch", 0)
    );
    assert_eq!(attribute(batch, "requests"), "1");
    assert_eq!(attribute(batch, "rows"), "1");
    let range = child(&of_trace, call("etcdserverpb.KV/Range"), "range");
    assert_eq!(attribute(range, "range_begin"), "/registry/a");
    assert_eq!(attribute(range, "response_count"), "1");
    assert!(!format!("{spans:?}").contains("secret"));
    let puts = collector.metric("etcd_mvcc_put_total");
    assert_eq!(puts, Some(1), "metrics are exported too");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_sample_is_not_traced() {
    const OTHER: &str = "1af7651916cd43dd8448eb211c80319c";
    let collector = Collector::start().await;
    let mut server = Server::start_with(Kind::K8sDqlite, otel(collector.address())).await;
    let mut api = server.api().await;
    api.kv
        .put(traced(put("a", "1"), TRACE, "00"))
        .await
        .unwrap();
    api.kv
        .put(traced(put("a", "2"), OTHER, "01"))
        .await
        .unwrap();
    api.ask(put("without", "context")).await;
    assert!(server.terminate().await.success());
    let spans = collector.spans();
    let traces: BTreeSet<String> = spans
        .iter()
        .map(|span| hex::encode(&span.trace_id))
        .collect();
    assert!(traces.contains(OTHER));
    assert!(!traces.contains(TRACE));
    let is_root = |span: &&Span| span.parent_span_id.is_empty() && span.name.ends_with("/Put");
    assert_eq!(spans.iter().filter(is_root).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_on_at_the_leader() {
    let collector = Collector::start().await;
    let mut trio = Trio::start_with(&otel(collector.address())).await;
    let leader = trio.leader().await;
    let follower = trio.others(leader)[0];
    let mut api = trio.nodes[follower].api().await;
    api.kv
        .put(traced(put("a", "1"), TRACE, "01"))
        .await
        .unwrap();
    api.kv.range(traced(get("a"), TRACE, "01")).await.unwrap();
    for at in [follower, leader, trio.others(leader)[1]] {
        trio.nodes[at].terminate().await;
    }
    let spans: Vec<Span> = collector
        .spans()
        .into_iter()
        .filter(|span| hex::encode(&span.trace_id) == TRACE)
        .collect();
    let call = spans.iter().find(|span| span.name == "etcdserverpb.KV/Put");
    let at_follower = child(&spans, call.unwrap(), "put");
    let forward = child(&spans, at_follower, "forward");
    assert_eq!(forward.kind, SpanKind::Client as i32);
    let at_leader = child(&spans, forward, "put");
    assert_eq!(at_leader.kind, SpanKind::Server as i32);
    assert_within(child(&spans, at_leader, "commit"), at_leader);
    let call = spans
        .iter()
        .find(|span| span.name == "etcdserverpb.KV/Range");
    let range = child(&spans, call.unwrap(), "range");
    assert_within(child(&spans, range, "leader"), range);
}

fn documents(server: &Server, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(server.path().join(name)).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A server that writes to its own directory.
async fn with_files(flags: &[&str]) -> Server {
    let mut server = Server::prepare(Kind::K8sDqlite, Options::default());
    let dir = server.path().to_str().unwrap().to_owned();
    let mut all = vec!["--otel".to_owned(), format!("--otel-dir={dir}")];
    all.extend(flags.iter().map(ToString::to_string));
    server.add_flags(&all);
    server.restart().await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn files_have_a_document_on_each_line() {
    let mut server = with_files(&[]).await;
    server.api().await.ask(put("a", "1")).await;
    assert!(server.terminate().await.success());
    let spans = documents(&server, "k8s-dqlite-traces.txt");
    let call = spans
        .iter()
        .find(|span| span["Name"] == "etcdserverpb.KV/Put");
    let call = call.unwrap();
    assert_eq!(call["SpanKind"], 2);
    assert_eq!(call["SpanContext"]["TraceFlags"], "01");
    assert_eq!(call["Parent"]["SpanID"], "0000000000000000");
    assert!(call["Resource"][0]["Key"].is_string());
    assert!(call["StartTime"].as_str() <= call["EndTime"].as_str());
    let operation = spans.iter().find(|span| span["Name"] == "put").unwrap();
    assert_eq!(operation["Parent"]["SpanID"], call["SpanContext"]["SpanID"]);
    let metrics = documents(&server, "k8s-dqlite-metrics.txt");
    let last = metrics.last().unwrap();
    let all = last["ScopeMetrics"][0]["Metrics"].as_array().unwrap();
    let puts = all.iter().find(|of| of["Name"] == "etcd_mvcc_put_total");
    assert_eq!(puts.unwrap()["Data"]["DataPoints"][0]["Value"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_drop_spans() {
    let mut server = with_files(&["--otel-span-name-filter=^(put|batch)$"]).await;
    server.api().await.ask(put("a", "1")).await;
    assert!(server.terminate().await.success());
    let spans = documents(&server, "k8s-dqlite-traces.txt");
    let names: BTreeSet<_> = spans.iter().map(|span| span["Name"].as_str()).collect();
    assert_eq!(names, BTreeSet::from([Some("put"), Some("batch")]));

    let mut server = with_files(&["--otel-span-min-duration-filter=1h"]).await;
    server.api().await.ask(put("a", "1")).await;
    assert!(server.terminate().await.success());
    assert!(documents(&server, "k8s-dqlite-traces.txt").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_that_cannot_be_read_are_warned_of() {
    let flags = ["--otel-span-min-duration-filter=soon"];
    let mut server = with_files(&flags).await;
    assert!(server.terminate().await.success());
    let output = server.output();
    assert!(
        output.contains("could not parse otel span duration soon"),
        "{output}"
    );
    assert!(output.contains("defaulting to 10ms."), "{output}");

    let mut server = with_files(&["--otel-span-name-filter=("]).await;
    server.api().await.ask(put("a", "1")).await;
    assert!(server.terminate().await.success());
    let output = server.output();
    assert!(
        output.contains("failed to setup otel sdk: invalid span filter regex ("),
        "{output}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_to_listen() {
    let address = format!("127.0.0.1:{}", free_port());
    let mut server = Server::start_with(Kind::K8sDqlite, otel(&address)).await;
    let api = server.api().await;
    for at in 0..100 {
        api.ask(put(format!("{at}"), "1")).await;
    }
    assert!(server.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_place_to_export_to_it_does_not_start() {
    let options = Options::flags(&["--otel", "--otel-listen=", "--otel-dir="]);
    let mut server = Server::prepare(Kind::K8sDqlite, options);
    server.launch();
    let status = server.process().wait().await;
    assert_eq!(status.code(), Some(2));
    let output = server.output();
    assert!(
        output.contains("no otel address or directory specified."),
        "{output}"
    );
}
