//! Logs: their form, what is warned of, and what is never in them.

use std::{
    future::poll_fn,
    pin::Pin,
    time::{Duration, Instant},
};

use etcd_proto::etcdserverpb::{
    AuthEnableRequest, AuthUserAddRequest, AuthUserGrantRoleRequest, AuthenticateRequest,
    PutRequest, PutResponse,
};
use http_body::Body;
use prost::Message;
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::{Service, http};
use tonic_prost::ProstCodec;

use crate::harness::*;

const SECRET: &str = "correct-horse-battery-staple";

/// Returns the forms in which a secret could get into a log: plain, as numbers, in hexadecimal, in
/// base64.
fn forms_of(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let numbers: Vec<String> = bytes.iter().map(ToString::to_string).collect();
    let hex = hex::encode(bytes);
    // Three bytes are four characters, wherever it begins.
    let base64 = (0..3).map(|skipped| base64_of(&bytes[skipped..]));
    let mut forms = vec![secret.to_owned(), numbers.join(", "), hex];
    forms.extend(base64);
    forms
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
    let whole = bytes.len() / 3 * 3;
    STANDARD_NO_PAD.encode(&bytes[..whole])
}

#[tokio::test(flavor = "multi_thread")]
async fn values_and_passwords_are_in_no_log() {
    let options = Options::flags(&[
        "--log-level=trace",
        // Everything is slow.
        "--warning-apply-duration=1ms",
    ]);
    let mut server = Server::start_with(Kind::K8sDqlite, options).await;
    let api = server.api().await;
    api.ask(put("/registry/secrets/a", SECRET)).await;
    api.ask(get("/registry/secrets/a")).await;
    let lease = api.ask(grant(60)).await.id;
    let mut request = txn();
    request.compare.push(value("/registry/secrets/a", SECRET));
    request.success.push(etcd_proto::etcdserverpb::RequestOp {
        request: Some(etcd_proto::etcdserverpb::request_op::Request::RequestPut(
            etcd_proto::etcdserverpb::PutRequest {
                lease,
                prev_kv: true,
                ..put("/registry/secrets/b", SECRET)
            },
        )),
    });
    api.ask(request).await;
    api.ask(delete("/registry/secrets/a")).await;
    let user = AuthUserAddRequest {
        name: "root".to_owned(),
        password: SECRET.to_owned(),
        ..Default::default()
    };
    api.ask(user).await;
    api.ask(AuthUserGrantRoleRequest {
        user: "root".to_owned(),
        role: "root".to_owned(),
    })
    .await;
    api.ask(AuthEnableRequest {}).await;
    let token = api
        .ask(AuthenticateRequest {
            name: "root".to_owned(),
            password: SECRET.to_owned(),
        })
        .await
        .token;
    api.with_token(&token).ask(get("/registry/secrets/b")).await;
    assert!(server.terminate().await.success());
    let output = server.output();
    // Even what is said about the request itself.
    assert!(output.contains("apply request took too long"), "{output}");
    for form in forms_of(SECRET).into_iter().chain([token]) {
        assert!(!output.contains(&form), "{form} in {output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_a_document_on_each_line() {
    let options = Options::flags(&["--log-format=json", "--disk-mode"]);
    let mut server = Server::start_with(Kind::K8sDqlite, options).await;
    assert!(server.terminate().await.success());
    let output = server.output();
    let lines: Vec<Value> = output
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect();
    let ready = lines
        .iter()
        .find(|line| line["message"] == "ready")
        .unwrap();
    assert_eq!(ready["level"], "INFO");
    assert!(ready["listen"].is_string() && ready["timestamp"].is_string());
    assert!(ready["target"].as_str().unwrap().starts_with("k8s_dqlite"));
    assert!(lines.iter().any(|line| line["level"] == "WARN"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_requests_are_warned_of_with_the_reason() {
    let options = Options::flags(&["--warning-apply-duration=1ms"]);
    let server = Server::start_with(Kind::K8sDqlite, options).await;
    let api = server.api().await;
    until("a write of a MiB was slow", async || {
        api.ask(put("/registry/large", vec![b'x'; 1 << 20])).await;
        let output = server.output();
        output.contains("apply request took too long") && output.contains("slow commit")
    })
    .await;
    let output = server.output();
    let line = output
        .lines()
        .find(|line| line.contains("apply request took too long") && line.contains("value_size"));
    let line = line.unwrap();
    for part in [
        "expected_duration=1ms",
        "etcdserverpb.KV/Put",
        "/registry/large",
        "value_size:1048576",
        "commit:",
        "reason=",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!line.contains("xxxx"), "{line}");
}

/// Reads a duration as the log writes it.
fn duration(text: &str) -> Duration {
    let units = [("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)];
    let of = |(unit, seconds): (&str, f64)| {
        Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * seconds)
    };
    let seconds = units.into_iter().find_map(of);
    Duration::from_secs_f64(seconds.unwrap_or_else(|| panic!("{text}")))
}

/// The steps of a request as its line tells them.
fn steps_of(line: &Value) -> Vec<(String, Duration)> {
    let steps = line["steps"].as_str().unwrap().split(' ');
    let named = steps.filter_map(|step| step.split_once(':'));
    named
        .map(|(name, took)| (name.to_owned(), duration(took)))
        .collect()
}

/// Begins to read more than fits into the windows of a connection, and reads all of it once some time has passed.
async fn read_slowly(api: &Api) {
    const PAUSE: Duration = Duration::from_millis(500);
    let mut channel = api.channel.clone();
    poll_fn(|context| channel.poll_ready(context))
        .await
        .unwrap();
    let message = get_prefix("large").encode_to_vec();
    let head = [&[0][..], &(message.len() as u32).to_be_bytes()].concat();
    let body = axum::body::Body::from([head, message].concat());
    let request = http::Request::post("/etcdserverpb.KV/Range")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let request = request.body(tonic::body::Body::new(body)).unwrap();
    let mut body = channel.call(request).await.unwrap().into_body();
    let begun = Instant::now();
    until("the client has paused", async || begun.elapsed() > PAUSE).await;
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        frame.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_steps_of_a_slow_request_sum_to_its_time() {
    /// Steps shorter than 0.1 ms are not written.
    const NOT_WRITTEN: Duration = Duration::from_micros(800);
    let options = Options::flags(&["--warning-apply-duration=1ms", "--log-format=json"]);
    let server = Server::start_with(Kind::K8sDqlite, options).await;
    let api = server.api().await;
    for at in 0..12 {
        api.ask(put(format!("large {at}"), vec![b'x'; 1 << 20]))
            .await;
    }
    let mut lines: Vec<Value> = Vec::new();
    until("requests of all kinds were slow", async || {
        // Few at a time: a flood becomes few lines.
        api.ask(put("large", vec![b'x'; 1 << 20])).await;
        read_slowly(&api).await;
        let output = server.output();
        let all = output
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        let slow = |line: &Value| line["message"] == "apply request took too long";
        lines = all.filter(slow).collect();
        let has = |reason| lines.iter().any(|line| line["reason"] == reason);
        has("commit") && has("elsewhere")
    })
    .await;
    for line in &lines {
        let took = duration(line["took"].as_str().unwrap());
        let mut steps = steps_of(line);
        // The client sends before the time of the server begins.
        steps.retain(|(name, _)| name != "receive");
        let sum: Duration = steps.iter().map(|(_, took)| *took).sum();
        assert!(
            sum <= took + Duration::from_nanos(1000) && took <= sum + NOT_WRITTEN,
            "{line}"
        );
        let known = steps.iter().filter(|(name, _)| name != "elsewhere");
        let explained: Duration = known.clone().map(|(_, took)| *took).sum();
        let longest = known
            .max_by_key(|(_, took)| *took)
            .map(|(name, _)| name.as_str());
        let reason = line["reason"].as_str().unwrap();
        if 2 * (explained + NOT_WRITTEN) < took {
            assert_eq!(reason, "elsewhere", "{line}");
        } else if 2 * explained > took {
            assert_eq!(Some(reason), longest, "{line}");
        }
    }
}

/// Begins a Put of which the request follows later, and returns what sends it.
fn begin_put(api: &Api) -> (mpsc::Sender<PutRequest>, JoinHandle<PutResponse>) {
    let (sender, requests) = mpsc::channel(1);
    let mut grpc = tonic::client::Grpc::new(api.channel.clone());
    let called = tokio::spawn(async move {
        grpc.ready().await.unwrap();
        let path = "/etcdserverpb.KV/Put".parse().unwrap();
        let request = tonic::Request::new(ReceiverStream::new(requests));
        let answer = grpc.client_streaming(request, path, ProstCodec::default());
        answer.await.unwrap().into_inner()
    });
    (sender, called)
}

/// Returns the sum of a metric's numbers of Put.
async fn put_metric(server: &Server, name: &str) -> f64 {
    let page = server.http("GET", "/metrics").await.body;
    let lines = page
        .lines()
        .filter(|line| line.starts_with(name) && line.contains("\"Put\""));
    let number = |line: &str| -> f64 { line.rsplit(' ').next().unwrap().parse().unwrap() };
    lines.map(number).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_in_which_a_client_sends_is_not_that_of_the_server() {
    const UPLOAD: Duration = Duration::from_millis(300);
    let options = Options::flags(&["--warning-apply-duration=1ms"]);
    let server = Server::start_with(Kind::K8sDqlite, options).await;
    let api = server.api().await;
    let began = Instant::now();
    let (sender, called) = begin_put(&api);
    until("the call has begun", async || {
        put_metric(&server, "grpc_server_started_total").await > 0.0
    })
    .await;
    let begun = Instant::now();
    until("the upload has taken long", async || {
        begun.elapsed() > UPLOAD
    })
    .await;
    // Large enough to be slow afterwards.
    sender.send(put("late", vec![b'x'; 1 << 20])).await.unwrap();
    drop(sender);
    called.await.unwrap();
    let whole = began.elapsed();
    let handled = put_metric(&server, "grpc_server_handling_seconds_sum").await;
    assert!(handled > 0.0);
    assert!(
        handled <= (whole - UPLOAD).as_secs_f64(),
        "{handled} s of {whole:?}"
    );
    let warned = async || {
        let output = server.output();
        let mut lines = output.lines().map(str::to_owned);
        lines.find(|line| line.contains("took too long") && line.contains("late"))
    };
    until("it is warned of", async || warned().await.is_some()).await;
    let line = warned().await.unwrap();
    assert!(line.contains("steps=receive:"), "{line}");
    assert!(!line.contains("reason=\"receive\""), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_while_it_sends_is_not_slow() {
    let options = Options::flags(&["--warning-apply-duration=1ms"]);
    let server = Server::start_with(Kind::K8sDqlite, options).await;
    // Ends with all its connections.
    let client = tokio::runtime::Runtime::new().unwrap();
    let url = server.client_url();
    client.spawn(async move {
        let (_sender, called) = begin_put(&Api::connect(&url).await);
        called.await
    });
    until("the call has begun", async || {
        put_metric(&server, "grpc_server_started_total").await > 0.0
    })
    .await;
    client.shutdown_background();
    until("the call has ended", async || {
        put_metric(&server, "grpc_server_handled_total").await > 0.0
    })
    .await;
    let output = server.output();
    assert!(!output.contains("took too long"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_slow_requests_is_few_lines() {
    const CLIENTS: usize = 16;
    const REQUESTS: usize = 50;
    let options = Options::flags(&["--warning-apply-duration=1ms"]);
    let server = Server::start_with(Kind::K8sDqlite, options).await;
    let began = std::time::Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let api = server.api().await;
        clients.spawn(async move {
            for at in 0..REQUESTS {
                api.ask(put(format!("{client}/{at}"), vec![b'x'; 64 * 1024]))
                    .await;
            }
        });
    }
    clients.join_all().await;
    let periods = began.elapsed().as_secs() as usize + 2;
    let output = server.output();
    let lines = output.matches("apply request took too long").count();
    assert!(lines > 0, "{output}");
    assert!(lines <= periods * 5, "{lines} lines in {periods} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_no_warnings_gets_none() {
    let options = Options::flags(&["--warning-apply-duration=0"]);
    let server = Server::start_with(Kind::K8sDqlite, options).await;
    let api = server.api().await;
    for _ in 0..10 {
        api.ask(put("a", vec![b'x'; 1 << 20])).await;
    }
    let output = server.output();
    assert!(
        !output.contains("too long") && !output.contains("slow commit"),
        "{output}"
    );
}
