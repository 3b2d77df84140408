//! `k8s-dqlite top`, the same on the endpoint of the metrics, and who may ask.

use std::process::Command;

use etcd_proto::etcdserverpb::*;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::spawn_blocking,
};

use crate::backup::{printed, refusal, text};
use crate::harness::*;

/// A short time for counting, so that a test asks often.
const SHORT: [&str; 2] = ["--interval", "100ms"];

fn top(server: &Server, arguments: &[&str]) -> Value {
    asked(&server.client_url(), arguments)
}

fn asked(url: &str, arguments: &[&str]) -> Value {
    let json = ["-o", "json", "--endpoint", url];
    serde_json::from_str(&printed(&[&["top"], arguments, &SHORT, &json[..]].concat())).unwrap()
}

fn row<'a>(document: &'a Value, list: &str, name: &str) -> &'a Value {
    let key = if list == "groups" {
        "prefix"
    } else {
        "address"
    };
    let rows = document[list].as_array().unwrap();
    let found = rows.iter().find(|row| row[key] == name);
    found.unwrap_or_else(|| panic!("{name}: {document:#}"))
}

async fn fill(api: &Api) {
    for n in 0..5 {
        api.put(&format!("/registry/pods/default/p{n}"), "12345")
            .await;
    }
    api.put("/registry/pods/kube-system/dns", "1").await;
    api.put("/registry/apps.example.com/sets/default/a", "1")
        .await;
    api.put("/registry/minions/node1", "1").await;
    api.put("plain", "1").await;
    api.put("plain", "2").await;
}

#[tokio::test]
async fn keys_and_bytes_are_told_by_type_and_by_namespace() {
    let server = Server::start(Kind::K8sDqlite).await;
    fill(&server.api().await).await;
    let types = top(&server, &[]);
    let pods = row(&types, "groups", "/registry/pods/");
    // Keys of 25 bytes with 5, and one of 30 with 1.
    assert_eq!((&pods["keys"], &pods["bytes"]), (&6.into(), &181.into()));
    assert_eq!(pods["changes"], 6);
    assert_eq!(
        row(&types, "groups", "/registry/apps.example.com/sets/")["keys"],
        1
    );
    let plain = row(&types, "groups", "(no prefix)");
    assert_eq!((&plain["keys"], &plain["changes"]), (&1.into(), &2.into()));
    let below = top(&server, &["--prefix", "/registry/pods/"]);
    let names: Vec<_> = below["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["prefix"])
        .collect();
    assert_eq!(
        names,
        ["/registry/pods/default/", "/registry/pods/kube-system/"]
    );
    // A resource without a namespace has no level of its own.
    let deep = top(
        &server,
        &["--depth", "3", "--sort", "prefix", "--limit", "2"],
    );
    assert_eq!(deep["groups"][0]["prefix"], "(no prefix)");
    assert_eq!(deep["other_groups"], 3);
    assert_eq!(
        row(
            &top(&server, &["--depth", "3"]),
            "groups",
            "/registry/minions/"
        )["keys"],
        1
    );
    let url = server.client_url();
    let table = printed(&[&["top", "--endpoint", &url], &SHORT[..]].concat());
    let line = table
        .lines()
        .find(|line| line.starts_with("/registry/pods/"))
        .unwrap();
    let cells: Vec<_> = line.split_whitespace().collect();
    assert_eq!(cells[1..4], ["6", "181", "B"], "{table}");
    assert!(table.starts_with("Revision "), "{table}");
}

/// Returns whether a document has what the busy client of the test below does.
fn has_all_of_a_cycle(seen: &Value) -> bool {
    let find = |list: &str, key: &str, name: &str| {
        let rows = seen[list].as_array().unwrap();
        rows.iter().find(|row| row[key] == name).cloned()
    };
    let is_positive = |row: &Value, name: &str| row[name].as_f64().unwrap() > 0.0;
    let (Some(pods), Some(leases), Some(client)) = (
        find("groups", "prefix", "/registry/pods/"),
        find("groups", "prefix", "/registry/leases/"),
        find("clients", "address", "127.0.0.1"),
    ) else {
        return false;
    };
    // The reads are of the range, the writes of keys in a namespace.
    let has_counts = is_positive(&pods, "reads_per_s") && is_positive(&pods, "writes_per_s");
    let has_txn = is_positive(&leases, "written_bytes_per_s");
    if !(has_counts && has_txn) {
        return false;
    }
    assert_eq!(pods["watchers"], 1, "{seen:#}");
    let most_by = pods["most_by"].as_str().unwrap();
    assert!(most_by.ends_with(" at 127.0.0.1"), "{seen:#}");
    assert!(
        client["agent"].as_str().unwrap().contains("tonic"),
        "{seen:#}"
    );
    assert!(is_positive(&client, "writes_per_s"), "{seen:#}");
    true
}

#[tokio::test]
async fn reads_writes_and_watchers_are_told_with_who_they_are() {
    let server = Server::start(Kind::K8sDqlite).await;
    let api = server.api().await;
    let (_watcher, _) = Watcher::open(&api, watch_prefix("/registry/pods/")).await;
    // One that runs all the time: what is counted is counted while a command asks.
    let busy = tokio::spawn({
        let api = server.api().await;
        async move {
            loop {
                api.put("/registry/pods/default/a", "1").await;
                api.ask(get_prefix("/registry/pods/")).await;
                let put = RequestOp {
                    request: Some(request_op::Request::RequestPut(put(
                        "/registry/leases/ns/b",
                        "12",
                    ))),
                };
                let txn = TxnRequest {
                    compare: vec![mod_revision("/registry/leases/ns/b", -1)],
                    success: vec![RequestOp {
                        request: Some(request_op::Request::RequestPut(crate::harness::put(
                            "/registry/never/x",
                            "1",
                        ))),
                    }],
                    failure: vec![put],
                };
                api.ask(txn).await;
            }
        }
    });
    let url = server.client_url();
    // One cycle may take longer than one interval on a slow disk.
    until("a command sees all of a cycle", async || {
        let url = url.clone();
        let seen = spawn_blocking(move || asked(&url, &["--sort", "writes"]));
        let seen = seen.await.unwrap();
        assert!(
            !seen.to_string().contains("/registry/never/"),
            "what was not done: {seen:#}"
        );
        has_all_of_a_cycle(&seen)
    })
    .await;
    busy.abort();
    drop(server);
}

#[tokio::test]
async fn nothing_is_counted_before_somebody_looks() {
    let port = free_port();
    let listen = format!("--metrics-listen=127.0.0.1:{port}");
    let server = Server::start_with(
        Kind::K8sDqlite,
        Options::flags(&["--metrics", "--metrics-top", &listen]),
    )
    .await;
    let api = server.api().await;
    fill(&api).await;
    let metrics = || async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        http_over(stream, "GET", "/metrics/top").await.body
    };
    let first = metrics().await;
    let writes = "k8s_dqlite_top_writes_total{prefix=\"/registry/pods/\"} ";
    assert!(
        first.contains("k8s_dqlite_top_keys{prefix=\"/registry/pods/\"} 6\n"),
        "{first}"
    );
    assert!(first.contains(&format!("{writes}0\n")), "{first}");
    api.put("/registry/pods/default/p1", "2").await;
    let client = "k8s_dqlite_top_client_writes_total{address=\"127.0.0.1\"";
    // For a moment it is the same answer again.
    until("the write is counted", async || {
        let page = metrics().await;
        let is_client = |line: &str| line.starts_with(client) && line.ends_with(" 1");
        page.contains(&format!("{writes}1\n")) && page.lines().any(is_client)
    })
    .await;
    let plain = server.http("GET", "/metrics").await.body;
    assert!(!plain.contains("k8s_dqlite_top_"), "{plain}");
    for path in ["/metrics/top", "/top.json"] {
        assert_eq!(
            server.http("GET", path).await.status,
            404,
            "{path}: not on the port of clients"
        );
    }
}

#[tokio::test]
async fn keys_and_clients_are_shown_there_on_request_only_and_to_no_foreign_page() {
    for (flags, status) in [
        (&["--metrics"][..], 403),
        (&["--metrics", "--metrics-top"], 200),
    ] {
        let port = free_port();
        let listen = format!("--metrics-listen=127.0.0.1:{port}");
        let flags = [flags, &[listen.as_str()]].concat();
        let server = Server::start_with(Kind::K8sDqlite, Options::flags(&flags)).await;
        server.api().await.put("/registry/secret/x", "1").await;
        for path in ["/top.json", "/metrics/top"] {
            let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let answer = http_over(stream, "GET", path).await;
            assert_eq!(answer.status, status, "{path}: {}", answer.body);
            assert_eq!(answer.body.contains("secret"), status == 200, "{path}");
            let is_advised = answer.body.contains("--metrics-top");
            assert_eq!(is_advised, status == 403, "{path}: {}", answer.body);
            for (header, refusal) in [
                ("Host: attacker.example", 421),
                ("Host: 127.0.0.1\r\nOrigin: http://attacker.example", 403),
            ] {
                let answer = raw(port, &format!("GET {path} HTTP/1.1\r\n{header}\r\n")).await;
                let line = format!("HTTP/1.1 {refusal}");
                assert!(answer.starts_with(&line), "{path} {header}: {answer}");
                assert!(!answer.contains("secret"), "{answer}");
            }
        }
    }
}

/// Sends the head of a request, and returns the answer.
async fn raw(port: u16, head: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let head = format!("{head}Connection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn with_authentication_only_root_is_told() {
    let port = free_port();
    let listen = format!("--metrics-listen=127.0.0.1:{port}");
    let flags = ["--bcrypt-cost=4", "--metrics", "--metrics-top", &listen];
    let server = Server::start_with(Kind::K8sDqlite, Options::flags(&flags)).await;
    let api = server.api().await;
    api.put("/registry/secret/x", "1").await;
    for name in ["root", "eve"] {
        api.ask(AuthUserAddRequest {
            name: name.to_owned(),
            password: "pw".to_owned(),
            ..Default::default()
        })
        .await;
    }
    let root = AuthUserGrantRoleRequest {
        user: "root".to_owned(),
        role: "root".to_owned(),
    };
    api.ask(AuthRoleAddRequest {
        name: "root".to_owned(),
    })
    .await;
    api.ask(root).await;
    api.ask(AuthEnableRequest {}).await;
    let url = server.client_url();
    let arguments = |more: &[&'static str]| -> Vec<String> {
        let all = [&["top", "--endpoint", &url], &SHORT[..], more].concat();
        all.into_iter().map(str::to_owned).collect()
    };
    let names = |list: &[String]| -> Vec<String> { list.to_vec() };
    for refused in [arguments(&[]), arguments(&["--user", "eve:pw"])] {
        let refused = names(&refused);
        let borrowed: Vec<&str> = refused.iter().map(String::as_str).collect();
        let (code, error) = refusal(&borrowed);
        assert_eq!(code, 3, "{error}");
    }
    let allowed = arguments(&["--user", "root:pw"]);
    let borrowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
    assert!(printed(&borrowed).contains("/registry/secret/"));
    for path in ["/top.json", "/metrics/top"] {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let answer = http_over(stream, "GET", path).await;
        assert_eq!(answer.status, 403, "{path}");
        assert!(!answer.body.contains("secret"), "{}", answer.body);
    }
}

#[tokio::test]
async fn an_etcd_is_told_from_a_server_that_does_not_answer() {
    let Some(etcd) = etcd_or_skip(Options::default()).await else {
        return;
    };
    let (code, error) = refusal(&["top", "--endpoint", &etcd.client_url()]);
    assert!(
        code == 12 && error.contains("does not know top"),
        "{code} {error}"
    );
}

/// It goes on until nobody reads.
#[tokio::test]
async fn watch_repeats_and_ends_with_its_reader() {
    let server = Server::start(Kind::K8sDqlite).await;
    server.api().await.put("/a/b", "1").await;
    let script = format!(
        "\"$0\" top --watch -o json --interval 50ms --endpoint {} | head -n 3",
        server.client_url()
    );
    let output = spawn_blocking(move || {
        Command::new("timeout")
            .args(["30", "bash", "-o", "pipefail", "-c", &script])
            .arg(env!("CARGO_BIN_EXE_k8s-dqlite"))
            .output()
            .unwrap()
    })
    .await
    .unwrap();
    let lines = text(&output.stdout);
    assert_eq!(lines.lines().count(), 3, "{lines}");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for line in lines.lines() {
        let document: Value = serde_json::from_str(line).unwrap();
        assert_eq!(row(&document, "groups", "/a/")["keys"], 1);
    }
}
