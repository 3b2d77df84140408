//! Nobody gets in: every endpoint against every caller, and what a hostile client may send.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read, Write},
    net::TcpStream,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use k8sd::certificate::{PemPair, generate};
use openssl::{
    pkey::PKey,
    ssl::{SslConnector, SslMethod, SslStream, SslVerifyMode, SslVersion},
    x509::X509,
};
use serde_json::json;

use crate::daemon::{Daemon, wait_for};

/// Any answer comes within this time, and any connection that stalls is closed. The daemon allows 10 s.
const TIMEOUT: Duration = Duration::from_secs(30);

const YEAR_S: i64 = 365 * 24 * 3600;

/// No round happens by itself meanwhile, which would undo what a test writes.
const NO_ROUNDS: &[(&str, &str)] = &[("K8SD_INTERVAL_MS", "3600000")];

fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs().cast_signed()
}

fn pair_in(state: &Path, name: &str) -> PemPair {
    let read = |ending| fs::read_to_string(state.join(format!("{name}.{ending}"))).unwrap();
    PemPair {
        certificate: read("crt"),
        key: read("key"),
    }
}

fn connect(address: &str, shown: Option<&PemPair>) -> SslStream<TcpStream> {
    let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    if let Some(pair) = shown {
        let certificate = X509::from_pem(pair.certificate.as_bytes()).unwrap();
        let key = PKey::private_key_from_pem(pair.key.as_bytes()).unwrap();
        connector.set_certificate(&certificate).unwrap();
        connector.set_private_key(&key).unwrap();
    }
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    connector.build().connect("node1", stream).unwrap()
}

/// All that comes until the server closes.
fn rest(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        let is_late = matches!(
            error.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
        );
        assert!(!is_late, "the connection is not closed");
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns the server's answer to these bytes.
fn send(address: &str, shown: Option<&PemPair>, bytes: &[u8]) -> String {
    let mut stream = connect(address, shown);
    // It may answer, and close, before it has all.
    let _ = stream.write_all(bytes);
    rest(&mut stream)
}

fn request(method: &str, path: &str, body: &str) -> String {
    format!(
        "{} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        method.to_uppercase(),
        body.len()
    )
}

fn status(answer: &str) -> u16 {
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

fn ask(address: &str, shown: Option<&PemPair>, request: &str) -> u16 {
    status(&send(address, shown, request.as_bytes()))
}

/// Returns all state that no refused request may change.
fn everything(node: &Daemon) -> String {
    let query = "select id, name, address, certificate, role, heartbeat from core_cluster_members; \
        select * from core_token_records; select * from member_removals; select * from cluster_configs";
    let mut all = node.good(&["sql", "--format", "json", query]);
    let mut files: Vec<_> = fs::read_dir(node.state().join("truststore"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    for file in files {
        all.push_str(&format!("{file:?}: {}", fs::read_to_string(&file).unwrap()));
    }
    all
}

fn trust_file(state: &Path, name: &str, certificate: &str) {
    let indented = certificate.trim_end().replace('\n', "\n  ");
    let text = format!("name: {name}\naddress: 127.0.0.1:1\ncertificate: |\n  {indented}\n");
    fs::write(state.join(format!("truststore/{name}.yaml")), text).unwrap();
}

/// Method, path, body, and what a member gets; anybody else over the network gets 403.
const TABLE: &[(&str, &str, &str, u16)] = &[
    ("post", "/core/control", "{}", 403),
    ("post", "/core/control/shutdown", "", 403),
    ("get", "/core/control/tokens", "", 403),
    ("post", "/core/control/tokens", "{\"name\":\"x\"}", 403),
    ("get", "/core/1.0", "", 200),
    ("get", "/core/1.0/ready", "", 200),
    ("get", "/core/1.0/cluster", "", 200),
    ("delete", "/core/1.0/cluster/{name}", "", 404),
    ("delete", "/core/1.0/tokens/{name}", "", 404),
    ("post", "/core/internal/cluster", "ADMISSION", 403),
    ("put", "/core/internal/cluster/{name}", "", 400),
    ("put", "/core/internal/datastore/pair", "{}", 403),
    ("post", "/core/internal/database", "", 400),
    ("patch", "/core/internal/database", "", 200),
    ("get", "/core/internal/sql", "", 200),
    (
        "post",
        "/core/internal/sql",
        "{\"query\":\"select 1\"}",
        200,
    ),
    ("post", "/core/internal/heartbeat", "{}", 200),
    ("post", "/core/internal/truststore", "{}", 200),
    ("delete", "/core/internal/truststore/{name}", "", 200),
    ("post", "/core/internal/check", "", 403),
];

#[test]
fn every_endpoint_refuses_every_caller_that_is_no_member() {
    let covered: BTreeSet<_> = TABLE.iter().map(|row| (row.0, row.1)).collect();
    let served: BTreeSet<_> = k8sd::ENDPOINTS.iter().copied().collect();
    assert_eq!(covered, served, "each endpoint needs a row in TABLE");
    if !cfg!(debug_assertions) {
        return;
    }
    let first = Daemon::start_with(NO_ROUNDS);
    first.good(&["bootstrap", "--name", "node1", "--address", &first.address]);
    let second = Daemon::start_with(NO_ROUNDS);
    let used = first.good(&["token", "add", "node2"]);
    let join = ["join", used.trim(), "--name", "node2", "--address"];
    second.good(&[&join[..], &[&second.address]].concat());
    let removed = pair_in(second.state(), "server");
    assert_eq!(
        ask(
            &first.address,
            Some(&removed),
            &request("get", "/core/1.0", "")
        ),
        200
    );
    first.good(&["remove", "node2"]);
    first.good(&["token", "add", "node3"]);
    let member = pair_in(first.state(), "server");
    let stranger = generate("node3", now_s()).unwrap();
    let expired = generate("node4", now_s() - 11 * YEAR_S).unwrap();
    let future = generate("node5", now_s() + YEAR_S).unwrap();
    // Trusted but for their time; the one beside them tells when they are.
    let beside = generate("node6", now_s()).unwrap();
    for (name, pair) in [("node4", &expired), ("node5", &future), ("node6", &beside)] {
        trust_file(first.state(), name, &pair.certificate);
    }
    wait_for("the new files of the truststore to count", || {
        ask(
            &first.address,
            Some(&beside),
            &request("get", "/core/1.0", ""),
        ) == 200
    });
    let callers = [
        ("nobody", None),
        ("a stranger", Some(&stranger)),
        ("a removed member", Some(&removed)),
        ("an expired certificate", Some(&expired)),
        ("a certificate of the future", Some(&future)),
    ];
    for (method, path, body, _) in TABLE {
        let path = path.replace("{name}", "node1");
        for (who, shown) in callers {
            let before = everything(&first);
            let mut body = (*body).to_owned();
            if body == "ADMISSION" {
                body = admission(shown, "0".repeat(64).as_str());
            }
            let answered = ask(&first.address, shown, &request(method, &path, &body));
            assert_eq!(answered, 403, "{who}: {method} {path}");
            assert_eq!(everything(&first), before, "{who}: {method} {path}");
        }
    }
    for (method, path, body, expected) in TABLE {
        let path = path.replace("{name}", "nobody");
        let body = match *body {
            "ADMISSION" => admission(Some(&member), "0"),
            body => body.to_owned(),
        };
        let asked = request(method, &path, &body);
        let answered = ask(&first.address, Some(&member), &asked);
        assert_eq!(answered, *expected, "{method} {path}");
    }
    // A token that was used, and one that is somebody else's.
    for token in [used.trim(), first.good(&["token", "add", "node7"]).trim()] {
        let token = k8sd::token::JoinToken::decode(token).unwrap();
        let before = everything(&first);
        let body = admission(Some(&stranger), &token.secret);
        let asked = request("post", "/core/internal/cluster", &body);
        assert_eq!(ask(&first.address, Some(&stranger), &asked), 403);
        assert_eq!(everything(&first), before);
    }
    first.good(&["status"]);
}

fn admission(shown: Option<&PemPair>, secret: &str) -> String {
    json!({
        "name": "node3", "address": "127.0.0.1:2", "secret": secret,
        "certificate": shown.map_or("", |pair| &pair.certificate),
        "schema_internal_version": 6, "extensions": k8sd::api::EXTENSIONS,
    })
    .to_string()
}

#[test]
fn who_has_no_token_is_told_nothing_of_the_cluster() {
    let node = Daemon::bootstrapped("node1");
    let stranger = generate("node3", now_s()).unwrap();
    // There is no datastore, and the extensions are not those of the cluster: both are for whoever has a token.
    for (name, value) in [
        ("datastore_address", json!("127.0.0.1:3")),
        ("extensions", json!(["another"])),
    ] {
        let mut asked: serde_json::Value =
            serde_json::from_str(&admission(Some(&stranger), "0")).unwrap();
        asked[name] = value;
        let asked = request("post", "/core/internal/cluster", &asked.to_string());
        let told = send(&node.address, Some(&stranger), asked.as_bytes());
        assert_eq!(status(&told), 403, "{name}: {told}");
        assert!(told.contains("No matching join token"), "{name}: {told}");
    }
}

#[test]
fn a_members_request_over_the_network_writes_nothing() {
    let node = Daemon::bootstrapped("node1");
    let member = pair_in(node.state(), "server");
    for query in [
        "create table t (a)",
        "pragma query_only = off; create table t (a)",
        "delete from core_cluster_members",
    ] {
        let body = json!({"query": query}).to_string();
        let asked = request("post", "/core/internal/sql", &body);
        assert!(ask(&node.address, Some(&member), &asked) >= 400, "{query}");
    }
    // What it claims about members is not believed.
    let stranger = generate("node9", now_s()).unwrap();
    let entry =
        json!({"name": "node9", "address": "127.0.0.1:1", "certificate": stranger.certificate});
    let heartbeat = json!({"cluster_members": {"127.0.0.1:1": entry}, "max_schema_internal": 6});
    for (path, body) in [
        ("/core/internal/truststore", entry.to_string()),
        ("/core/internal/heartbeat", heartbeat.to_string()),
    ] {
        assert_eq!(
            ask(&node.address, Some(&member), &request("post", path, &body)),
            200
        );
        assert_eq!(
            ask(
                &node.address,
                Some(&stranger),
                &request("get", "/core/1.0", "")
            ),
            403
        );
    }
    let asked = request("put", "/core/internal/cluster/node1?force=1&id=1", "");
    assert_eq!(
        ask(&node.address, Some(&member), &asked),
        409,
        "another life's end"
    );
    assert_eq!(node.good(&["members"]).matches("node").count(), 1);
}

#[test]
fn what_is_no_request_is_refused_and_others_are_served() {
    let node = Daemon::bootstrapped("node1");
    let member = pair_in(node.state(), "server");
    let shown = Some(&member);
    for body in [
        "",
        "{",
        "[]",
        "\"x\"",
        "{\"query\":1}",
        "{\"query\":\"select 1\"}x",
        "\u{0}",
    ] {
        let asked = request("post", "/core/internal/sql", body);
        assert_eq!(ask(&node.address, shown, &asked), 400, "{body:?}");
    }
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let asked = request("post", "/core/internal/heartbeat", &deep);
    assert_eq!(ask(&node.address, shown, &asked), 400, "deep JSON");
    let mut bytes = request("post", "/core/internal/sql", "....").into_bytes();
    bytes.truncate(bytes.len() - 4);
    bytes.extend([0xff; 4]);
    assert_eq!(status(&send(&node.address, shown, &bytes)), 400);
    for (headers, expected) in [
        ("", 400),
        ("Upgrade: websocket\r\n", 400),
        ("Upgrade: dqlite\r\nX-Dqlite-Version: one\r\n", 400),
        ("Upgrade: dqlite\r\nX-Dqlite-Version: -1\r\n", 400),
        ("Upgrade: dqlite\r\nX-Dqlite-Version: \u{e9}\r\n", 400),
        ("Upgrade: \u{e9}\r\n", 400),
    ] {
        let head = format!(
            "POST /core/internal/database HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n"
        );
        assert_eq!(ask(&node.address, shown, &head), expected, "{headers:?}");
    }
    // What follows the upgrade is no dqlite.
    let head = "POST /core/internal/database HTTP/1.1\r\nHost: x\r\nUpgrade: dqlite\r\nX-Dqlite-Version: 1\r\n\r\n";
    let garbage = [head.as_bytes(), &[0xee; 4096]].concat();
    let answer = send(&node.address, shown, &garbage);
    assert!(
        answer.starts_with("HTTP/1.1 101 Switching Protocols\r\nUpgrade: dqlite\r\n\r\n"),
        "{answer}"
    );
    for (bytes, expected) in [
        ("GET /core/1.0/ready HTTP/1.0\r\n\r\n", 200),
        ("GET /core/1.0/ready HTTP/1.0\r\nHost: x\r\n\r\n", 200),
        ("GET /core/nope HTTP/1.0\r\n\r\n", 404),
        ("TRACE /core/1.0/ready HTTP/1.0\r\n\r\n", 405),
        ("\u{0}\u{1}\u{2}\r\n\r\n", 400),
        ("GET /core/1.0/ready HTTP/9.9\r\n\r\n", 400),
    ] {
        assert_eq!(ask(&node.address, shown, bytes), expected, "{bytes:?}");
    }
    assert_eq!(
        ask(&node.address, None, "GET /core/1.0/ready HTTP/1.0\r\n\r\n"),
        403
    );
    // The first is answered, the garbage behind it ends the connection.
    let answer = send(
        &node.address,
        shown,
        b"GET /core/1.0/ready HTTP/1.1\r\nHost: x\r\n\r\n\0\0garbage\r\n\r\n",
    );
    assert_eq!(status(&answer), 200);
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 2, "{answer}");
    assert!(answer.contains("HTTP/1.1 400 "), "{answer}");
    node.good(&["status"]);
}

#[test]
fn what_is_too_large_is_refused() {
    let node = Daemon::bootstrapped("node1");
    let member = pair_in(node.state(), "server");
    let stranger = generate("node2", now_s()).unwrap();
    let large = "x".repeat(17 << 20);
    let asked = request("post", "/core/internal/sql", &large);
    assert_eq!(ask(&node.address, Some(&member), &asked), 413);
    let asked = request("post", "/core/internal/sql", &large);
    assert_eq!(ask(&node.address, Some(&stranger), &asked), 403);
    let asked = request("post", "/core/internal/cluster", &large[..65 << 10]);
    assert_eq!(ask(&node.address, Some(&stranger), &asked), 413);
    // Without a length.
    let mut chunked = String::from(
        "POST /core/internal/cluster HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    for _ in 0..65 {
        chunked.push_str(&format!("400\r\n{}\r\n", &large[..1024]));
    }
    assert_eq!(ask(&node.address, Some(&stranger), &chunked), 413);
    let head = format!(
        "GET /core/1.0 HTTP/1.1\r\nX: {}\r\n\r\n",
        &large[..64 << 10]
    );
    assert_eq!(ask(&node.address, None, &head), 431);
    let many = format!("GET /core/1.0 HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1000));
    assert_eq!(ask(&node.address, None, &many), 431);
    node.good(&["status"]);
}

#[test]
fn old_tls_is_refused() {
    let node = Daemon::bootstrapped("node1");
    let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    connector
        .set_max_proto_version(Some(SslVersion::TLS1_2))
        .unwrap();
    let stream = TcpStream::connect(&node.address).unwrap();
    assert!(connector.build().connect("node1", stream).is_err());
    let mut plain = TcpStream::connect(&node.address).unwrap();
    plain.set_read_timeout(Some(TIMEOUT)).unwrap();
    plain.write_all(b"GET /core/1.0 HTTP/1.1\r\n\r\n").unwrap();
    assert!(!rest(&mut plain).contains("HTTP"));
}

#[test]
fn slow_clients_are_cut_off_and_others_are_served_meanwhile() {
    let node = Daemon::bootstrapped("node1");
    let member = pair_in(node.state(), "server");
    let mut silent = TcpStream::connect(&node.address).unwrap();
    silent.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut no_head = connect(&node.address, None);
    let mut half_a_head = connect(&node.address, None);
    half_a_head.write_all(b"GET /core/1.0 HT").unwrap();
    let mut kept = connect(&node.address, Some(&member));
    kept.write_all(b"GET /core/1.0/ready HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut half_a_body = connect(&node.address, Some(&member));
    half_a_body
        .write_all(b"POST /core/internal/sql HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        .unwrap();
    let begin = Instant::now();
    node.good(&["status"]);
    assert_eq!(
        ask(
            &node.address,
            Some(&member),
            &request("get", "/core/1.0", "")
        ),
        200
    );
    assert!(!rest(&mut silent).contains("HTTP"));
    assert!(!rest(&mut no_head).contains("200"));
    assert!(!rest(&mut half_a_head).contains("200"));
    assert_eq!(status(&rest(&mut kept)), 200);
    assert_eq!(status(&rest(&mut half_a_body)), 408);
    // 10 s each, all at the same time.
    assert!(begin.elapsed() < TIMEOUT, "{:?}", begin.elapsed());
}

#[test]
fn connections_are_bounded_and_strangers_do_not_keep_members_out() {
    const MORE_THAN_ALLOWED: usize = 600;
    const ALLOWED: usize = 256;
    let node = Daemon::bootstrapped("node1");
    let member = pair_in(node.state(), "server");
    let about = request("get", "/core/1.0", "");
    let held: Vec<TcpStream> = (0..MORE_THAN_ALLOWED)
        .map(|_| TcpStream::connect(&node.address).unwrap())
        .collect();
    for stream in &held {
        stream.set_nonblocking(true).unwrap();
    }
    let is_open = |stream: &&TcpStream| {
        let peeked = stream.peek(&mut [0]);
        matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    };
    wait_for("the connections beyond the limit to be closed", || {
        held.iter().filter(is_open).count() <= ALLOWED
    });
    assert_eq!(ask(&node.address, Some(&member), &about), 200);
    // The socket has places of its own.
    node.good(&["status"]);
}

#[test]
fn a_damaged_or_deleted_truststore_file_changes_nothing_and_a_new_one_counts() {
    if !cfg!(debug_assertions) {
        return;
    }
    let node = Daemon::start_with(NO_ROUNDS);
    node.good(&["bootstrap", "--name", "node1", "--address", &node.address]);
    let member = pair_in(node.state(), "server");
    let added = generate("node2", now_s()).unwrap();
    let about = request("get", "/core/1.0", "");
    assert_eq!(ask(&node.address, Some(&added), &about), 403);
    // What is read with the second file has been read of the first one, too.
    fs::write(node.state().join("truststore/node1.yaml"), "").unwrap();
    trust_file(node.state(), "node2", &added.certificate);
    wait_for("the new file of the truststore to count", || {
        ask(&node.address, Some(&added), &about) == 200
    });
    assert_eq!(ask(&node.address, Some(&member), &about), 200);
    // The rows say otherwise, and write the damaged one again.
    let told = request("post", "/core/internal/truststore", "{}");
    assert_eq!(ask(&node.address, Some(&member), &told), 200);
    assert_eq!(ask(&node.address, Some(&added), &about), 403);
    let healed = fs::read_to_string(node.state().join("truststore/node1.yaml")).unwrap();
    assert!(healed.starts_with("name: node1\n"));
    assert!(!node.state().join("truststore/node2.yaml").exists());
}
