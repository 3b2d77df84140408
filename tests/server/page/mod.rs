//! The status page, from its HTTP answers to what a browser makes of it.

mod browser;

use std::path::PathBuf;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use self::browser::{Browser, Window};
use crate::harness::*;
use crate::nodes::trio::{Trio, write_init};

/// A server with an endpoint for metrics.
struct Watched {
    server: Server,
    port: u16,
}

fn prepare() -> Watched {
    let port = free_port();
    let listen = format!("--metrics-listen=127.0.0.1:{port}");
    let options = Options::flags(&["--metrics", "--metrics-top", &listen]);
    let server = Server::prepare(Kind::K8sDqlite, options);
    Watched { server, port }
}

async fn start() -> Watched {
    let mut watched = prepare();
    watched.server.launch();
    watched.server.ready().await;
    watched
}

async fn get(port: u16, method: &str, path: &str) -> HttpAnswer {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    http_over(stream, method, path).await
}

async fn status(port: u16, query: &str) -> Value {
    let answer = get(port, "GET", &format!("/status.json{query}")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    serde_json::from_str(&answer.body).unwrap()
}

/// The newest value of a plot.
fn last(status: &Value, name: &str) -> Option<f64> {
    let names = status["points"]["names"].as_array().unwrap();
    let at = names.iter().position(|found| found == name).unwrap();
    let row = status["points"]["rows"].as_array().unwrap().last()?;
    row[at + 1].as_f64()
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/")
}

#[tokio::test]
async fn the_page_is_on_the_endpoint_of_the_metrics_only_and_read_only() {
    let watched = start().await;
    let page = get(watched.port, "GET", "/").await;
    assert_eq!(page.status, 200);
    let kind = page.header("content-type");
    assert_eq!(kind, Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap();
    for rule in [
        "default-src 'none'",
        "script-src 'sha256-",
        "connect-src 'self'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    for method in ["POST", "PUT", "DELETE", "HEAD"] {
        for path in ["/", "/status.json", "/top.json", "/metrics/top"] {
            let answer = get(watched.port, method, path).await;
            assert_eq!(answer.status, 405, "{method} {path}");
        }
    }
    for path in ["/", "/status.json"] {
        assert_eq!(watched.server.http("GET", path).await.status, 404, "{path}");
    }
    for path in ["/health", "/livez", "/readyz", "/version", "/metrics"] {
        let answer = get(watched.port, "GET", path).await;
        assert_eq!(
            answer.status, 200,
            "{path}: as with etcd's --listen-metrics-urls"
        );
    }
    assert_eq!(get(watched.port, "GET", "/v3/kv/range").await.status, 404);
}

#[tokio::test]
async fn the_last_minutes_are_there_when_the_page_opens_and_are_sent_once() {
    let watched = start().await;
    let api = watched.server.api().await;
    let lease = api.ask(grant(600)).await.id;
    until("a write and its latency are on the plots", async || {
        api.put("a", "1").await;
        api.ask(crate::harness::get("a")).await;
        let now = status(watched.port, "").await;
        let is_positive = |name| last(&now, name).is_some_and(|value| value > 0.0);
        [
            "writes_per_s",
            "reads_per_s",
            "write_p99_ms",
            "commit_p50_ms",
        ]
        .into_iter()
        .all(is_positive)
            && last(&now, "leases") == Some(1.0)
            && last(&now, "keys") == Some(1.0)
            && is_positive("database_bytes")
            && is_positive("disk_free_bytes")
            && is_positive("log_bytes")
    })
    .await;
    api.ask(revoke(lease)).await;
    let all = status(watched.port, "").await;
    let rows = all["points"]["rows"].as_array().unwrap();
    let newest = rows.last().unwrap()[0].as_u64().unwrap();
    let more = status(watched.port, &format!("?since={newest}")).await;
    let more = more["points"]["rows"].as_array().unwrap();
    assert!(more.len() < rows.len(), "{} {}", more.len(), rows.len());
    assert!(more.iter().all(|row| row[0].as_u64().unwrap() > newest));
    let nodes = all["cluster"]["report"]["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 1);
    assert_eq!(nodes[0]["is_leader"], true);
    assert!(
        all["checks"]
            .as_array()
            .unwrap()
            .iter()
            .all(|c| c["is_ok"] == true)
    );
    assert_eq!(all["state"]["alarms"], serde_json::json!([]));
}

/// A node that cannot join yet has nothing to serve to clients, and much to tell.
#[tokio::test]
async fn a_node_that_waits_for_its_cluster_tells_so_and_is_alive() {
    let mut watched = prepare();
    write_init(&watched.server, free_port());
    watched.server.launch();
    until("the endpoint answers", async || {
        TcpStream::connect(("127.0.0.1", watched.port))
            .await
            .is_ok()
    })
    .await;
    assert_eq!(get(watched.port, "GET", "/livez").await.status, 200);
    let ready = get(watched.port, "GET", "/readyz?verbose").await;
    assert_eq!(ready.status, 503);
    let text = "[-]loaded failed: the store is being loaded";
    assert!(ready.body.contains(text), "{}", ready.body);
    assert!(
        get(watched.port, "GET", "/metrics")
            .await
            .body
            .contains("k8s_dqlite_loaded 0\n")
    );
    assert_eq!(status(watched.port, "").await["node"]["is_loaded"], false);
    if let Some(browser) = Browser::find() {
        let seen = browser.open(&url(watched.port), None).await;
        assert_eq!(seen.words("health"), "Starting");
        assert_eq!(seen.complaints, [] as [String; 0]);
    }
}

/// Nobody can ask a node then, which is no reason to say that none leads.
#[tokio::test]
async fn with_an_expired_pair_all_say_the_same_and_writes_go_on() {
    let port = free_port();
    let listen = format!("--metrics-listen=127.0.0.1:{port}");
    let options = Options::flags(&["--enable-tls=true", "--metrics", &listen]);
    let mut server = Server::prepare(Kind::K8sDqlite, options);
    write_expired_node_pair(&server.storage_dir());
    server.launch();
    server.ready().await;
    server.api().await.put("a", "1").await;
    assert_eq!(get(port, "GET", "/readyz").await.status, 200);
    let page = status(port, "").await;
    let verdict = &page["verdict"];
    assert_eq!(verdict["state"], "degraded", "{page}");
    let output = crate::status::status(&server, &["--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), &told["health"]),
        (Some(10), &"degraded".into())
    );
    for said in [verdict, &told] {
        let summary = said["summary"].as_str().unwrap();
        assert!(summary.contains("has expired"), "{summary}");
        assert_eq!(said["section"], "Certificates", "{said}");
        assert!(said["remedy"].as_str().unwrap().contains("cluster.crt"));
    }
    let warned = "the certificate between the nodes has expired";
    until("the log has it, too", async || {
        server.output().contains(warned)
    })
    .await;
    assert!(server.terminate().await.success());
    // A stopped node is none that hides its state.
    let output = crate::status::status(&server, &[]);
    assert_eq!(output.status.code(), Some(11));
}

/// Returns the file in which a picture is left for people to look at.
fn picture_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Width and height of a PNG.
fn size_of_png(file: &PathBuf) -> (u32, u32) {
    let bytes = std::fs::read(file).unwrap();
    assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

#[tokio::test]
async fn a_browser_shows_a_node_alone() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let watched = start().await;
    let api = watched.server.api().await;
    let revision = api.put("a", "1").await;
    until("the write is on the plots", async || {
        last(&status(watched.port, "").await, "revision") == Some(revision as f64)
    })
    .await;
    let seen = browser.open(&url(watched.port), None).await;
    assert_eq!(seen.complaints, [] as [String; 0], "{}", seen.dom);
    assert_eq!(seen.words("health"), "Healthy");
    assert!(
        seen.words("age").starts_with("live"),
        "{}",
        seen.words("age")
    );
    let address = format!("127.0.0.1:{}", watched.server.node_port());
    assert!(
        seen.words("node").starts_with(&address),
        "{}",
        seen.words("node")
    );
    assert_eq!(seen.count("<tr data-node="), 1);
    let members = seen.words("members");
    assert!(
        members.contains("this node") && members.contains("voter leader"),
        "{members}"
    );
    assert!(
        seen.words("revision")
            .contains(&format!("Revision {revision}"))
    );
    assert_eq!(seen.count("<figure data-plot="), 16);
    // Each plot says in words what it shows.
    assert_eq!(seen.count("role=\"img\" aria-label=\""), 16);
    assert_eq!(
        seen.count("<li class=\"\" data-check="),
        6,
        "{}",
        seen.words("ready")
    );
    for id in [
        "storage",
        "compaction",
        "watches",
        "certificates",
        "process",
    ] {
        assert!(!seen.words(id).is_empty(), "{id}");
    }
    for (name, window, is_dark) in [
        ("status-page.png", Window(1280, 900), false),
        ("status-page-dark.png", Window(1280, 900), true),
        ("status-page-phone.png", Window(390, 844), false),
    ] {
        let file = picture_file(name);
        let _ = std::fs::remove_file(&file);
        browser
            .picture(&url(watched.port), window, is_dark, &file)
            .await;
        assert_eq!(size_of_png(&file), (window.0, window.1));
    }
}

#[tokio::test]
async fn a_browser_shows_what_fills_the_store_once_it_is_opened() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let watched = start().await;
    let api = watched.server.api().await;
    for n in 0..30 {
        let kind = ["pods", "leases", "events"][n % 3];
        let key = format!("/registry/{kind}/default/{n}");
        api.put(&key, &"x".repeat(100 * n)).await;
    }
    let (_watcher, _) = Watcher::open(&api, watch_prefix("/registry/pods/")).await;
    let closed = browser.open(&url(watched.port), None).await;
    assert_eq!(closed.complaints, [] as [String; 0], "{}", closed.dom);
    assert!(!closed.words("top").contains("/registry/pods/"));
    let open = format!("{}#top", url(watched.port));
    let seen = browser.open(&open, None).await;
    assert_eq!(seen.complaints, [] as [String; 0], "{}", seen.dom);
    let top = seen.words("top-groups");
    assert!(top.contains("/registry/pods/ 10 "), "{top}");
    let clients = seen.words("top-clients");
    assert!(clients.contains("127.0.0.1"), "{clients}");
    let file = picture_file("status-page-top.png");
    let _ = std::fs::remove_file(&file);
    browser
        .picture(&open, Window(1280, 900), false, &file)
        .await;
    assert_eq!(size_of_png(&file), (1280, 900));
}

#[tokio::test]
async fn an_alarm_is_shown_as_what_it_stops() {
    let Some(browser) = Browser::find() else {
        return;
    };
    use etcd_proto::etcdserverpb::{AlarmRequest, AlarmType, alarm_request::AlarmAction};
    let watched = start().await;
    let api = watched.server.api().await;
    api.ask(AlarmRequest {
        action: AlarmAction::Activate.into(),
        member_id: 0,
        alarm: AlarmType::Nospace.into(),
    })
    .await;
    let seen = browser.open(&url(watched.port), None).await;
    assert_eq!(seen.words("health"), "Not ready");
    let troubles = seen.words("troubles");
    assert!(
        troubles.contains("Writes are taken : no: etcdserver: mvcc: database space exceeded"),
        "{troubles}"
    );
    assert_eq!(seen.count("<li class=\"bad\" data-check=\"writable\""), 1);
}

#[tokio::test]
async fn a_browser_shows_three_nodes_and_the_one_that_is_lost() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let (nodes, ports): (Vec<_>, Vec<_>) = (0..3)
        .map(|_| prepare())
        .map(|watched| (watched.server, watched.port))
        .unzip();
    let first = nodes[0].node_port();
    nodes[1..].iter().for_each(|node| write_init(node, first));
    let mut trio = Trio { nodes };
    for node in &mut trio.nodes {
        node.launch();
    }
    for node in &mut trio.nodes {
        node.ready().await;
    }
    trio.wait_for_voters(3).await;
    for (at, port) in ports.iter().enumerate() {
        let mut seen = browser.open(&url(*port), None).await;
        // Roles settle within a moment.
        until("all are shown", async || {
            let is_settled = seen.words("members").matches(" voter ").count() == 3;
            if !is_settled {
                seen = browser.open(&url(*port), None).await;
            }
            is_settled
        })
        .await;
        assert_eq!(
            seen.words("health"),
            "Healthy",
            "{at}: {}",
            seen.words("troubles")
        );
        assert_eq!(seen.count("<tr data-node="), 3);
        assert_eq!(seen.count("data-state=\"leader\""), 1);
        assert_eq!(seen.count("data-state=\"follower\""), 2);
    }
    let leader = trio.leader().await;
    let [near, lost] = trio.others(leader);
    trio.nodes[lost].kill9();
    let address = format!("127.0.0.1:{}", trio.nodes[lost].node_port());
    until("the loss is shown", async || {
        let seen = browser.open(&url(ports[near]), None).await;
        let troubles = seen.words("troubles");
        seen.words("health") == "Degraded"
            && troubles.contains(&format!("{address} cannot be reached"))
            && seen.count("data-state=\"unreachable\"") == 1
    })
    .await;
    let file = picture_file("status-page-degraded.png");
    browser
        .picture(&url(ports[near]), Window(1280, 900), false, &file)
        .await;
    assert_eq!(size_of_png(&file), (1280, 900));
    trio.nodes[leader].kill9();
    until("the loss of the majority is shown", async || {
        let seen = browser.open(&url(ports[near]), None).await;
        seen.words("health") == "No leader"
    })
    .await;
}

/// Passes requests on, but only the first one for the status.
async fn serve_once(listener: TcpListener, port: u16) {
    let mut has_answered = false;
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match client.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => break,
            }
        }
        let head = String::from_utf8(head).unwrap();
        let is_status = head.starts_with("GET /status.json");
        if is_status && std::mem::replace(&mut has_answered, true) {
            continue;
        }
        let Some(path) = head.split(' ').nth(1) else {
            continue;
        };
        let answer = get(port, "GET", path).await;
        let kind = answer.header("content-type").unwrap_or_default().to_owned();
        let (status, body) = (answer.status, answer.body);
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status} x\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        // A client that has gone is another test's affair.
        let _ = client
            .write_all(&[head.as_bytes(), body.as_bytes()].concat())
            .await;
    }
}

#[tokio::test]
async fn silence_is_shown_with_the_time_since_when() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let watched = start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(serve_once(listener, watched.port));
    let seen = browser.open(&url(port), Some(30_000)).await;
    assert_eq!(seen.words("health"), "No answer", "{}", seen.dom);
    let silence = seen.words("silence");
    assert!(
        silence.starts_with("The server has not answered for "),
        "{silence}"
    );
    assert!(
        seen.dom.contains("<body data-state=\"silent\">"),
        "{}",
        seen.dom
    );
    assert!(
        seen.words("members").contains("leader"),
        "what was known stays"
    );
    serving.abort();
}
