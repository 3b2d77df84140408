//! The HTTP endpoints beside gRPC.

use etcd_proto::etcdserverpb::alarm_request::AlarmAction;
use etcd_proto::etcdserverpb::{AlarmRequest, AlarmType, StatusRequest};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::harness::*;

parity! {
    health_is_told_by_three_endpoints,
    checks_are_told_apart,
    checks_can_be_excluded,
    versions_are_told,
    only_get_is_taken,
    unknown_paths_are_not_found,
    browsers_are_told_that_they_may,
    a_connection_serves_many_requests,
    alarms_are_illnesses,
    streams_of_a_connection_are_not_limited,
}

/// Returns the streams that the server allows on one connection: its setting in HTTP/2's frame
/// SETTINGS, none if there is no limit.
async fn announced_streams(server: &Server) -> Option<u32> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const EMPTY_SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    let mut stream = TcpStream::connect(("127.0.0.1", server.client_port()))
        .await
        .unwrap();
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(&EMPTY_SETTINGS).await.unwrap();
    let mut head = [0; 9];
    timeout(TIMEOUT, stream.read_exact(&mut head))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((head[3], head[4]), (4, 0), "SETTINGS come first");
    let mut settings = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
    timeout(TIMEOUT, stream.read_exact(&mut settings))
        .await
        .unwrap()
        .unwrap();
    let mut settings = settings.chunks(6).map(|setting| {
        let name = u16::from_be_bytes([setting[0], setting[1]]);
        (name, u32::from_be_bytes(setting[2..].try_into().unwrap()))
    });
    let found = settings.find(|(name, _)| *name == MAX_CONCURRENT_STREAMS);
    found.map(|(_, value)| value)
}

async fn streams_of_a_connection_are_not_limited(server: Server) {
    let limit = announced_streams(&server).await;
    assert!(limit.is_none_or(|limit| limit == u32::MAX), "{limit:?}");
}

parity! {
    with Options::flags(&["--max-concurrent-streams=7"]);
    streams_of_a_connection_are_limited_on_request
}

async fn streams_of_a_connection_are_limited_on_request(server: Server) {
    assert_eq!(announced_streams(&server).await, Some(7));
}

const JSON_HEALTHY: &str = r#"{"health":"true","reason":""}"#;

async fn health_is_told_by_three_endpoints(server: Server) {
    for (path, body) in [
        ("/health", JSON_HEALTHY),
        ("/health?serializable=true", JSON_HEALTHY),
        ("/health?exclude=NOSPACE", JSON_HEALTHY),
        ("/health?exclude=NOSPACE&serializable=true", JSON_HEALTHY),
        ("/livez", "ok\n"),
        ("/readyz", "ok\n"),
    ] {
        let answer = server.http("GET", path).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, body), "{path}");
        let kind = answer.header("content-type");
        assert_eq!(kind, Some("text/plain; charset=utf-8"), "{path}");
    }
}

async fn checks_are_told_apart(server: Server) {
    for path in [
        "/livez/serializable_read",
        "/readyz/data_corruption",
        "/readyz/serializable_read",
        "/readyz/linearizable_read",
        "/readyz/non_learner",
    ] {
        let answer = server.http("GET", path).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let name = path.rsplit('/').next().unwrap();
        let answer = server.http("GET", &format!("{path}?verbose")).await;
        assert_eq!(answer.body, format!("[+]{name} ok\nok\n"));
    }
    let answer = server.http("GET", "/livez/linearizable_read").await;
    assert_eq!(answer.status, 404);
}

/// etcd's are in any order.
fn sorted(answer: &HttpAnswer) -> Vec<&str> {
    let mut lines: Vec<_> = answer.body.lines().collect();
    lines.sort_unstable();
    lines
}

async fn checks_can_be_excluded(server: Server) {
    // etcd does not have these.
    let ours = match server.kind() {
        Kind::K8sDqlite => "&exclude=loaded&exclude=writable",
        Kind::Etcd => "",
    };
    let answer = server.http("GET", &format!("/readyz?verbose{ours}")).await;
    let all = [
        "[+]data_corruption ok",
        "[+]linearizable_read ok",
        "[+]non_learner ok",
        "[+]serializable_read ok",
        "ok",
    ];
    assert_eq!(sorted(&answer), all);
    let path = "/readyz?verbose&exclude=non_learner&exclude=linearizable_read&exclude=unknown";
    let path = &format!("{path}{ours}");
    let answer = server.http("GET", path).await;
    assert_eq!(sorted(&answer), [all[0], all[3], all[4]]);
    let answer = server
        .http(
            "GET",
            "/livez?verbose=0&exclude=serializable_read&exclude=engine",
        )
        .await;
    assert_eq!(answer.body, "ok\n");
}

async fn versions_are_told(server: Server) {
    let answer = server.http("GET", "/version").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let own = server.api().await.ask(StatusRequest {}).await.version;
    let of_data = server.storage_version();
    let body =
        format!(r#"{{"etcdserver":"{own}","etcdcluster":"{of_data}","storage":"{of_data}"}}"#);
    // etcd finds out its storage's version a moment after its start.
    until(&format!("the versions are {body}"), async || {
        server.http("GET", "/version").await.body == body
    })
    .await;
}

async fn only_get_is_taken(server: Server) {
    for path in ["/health", "/livez", "/readyz/non_learner", "/version"] {
        for method in ["POST", "PUT", "DELETE", "HEAD"] {
            let answer = server.http(method, path).await;
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.header("allow"), Some("GET"));
            let body = match method {
                "HEAD" => "",
                _ => "Method Not Allowed\n",
            };
            assert_eq!(answer.body, body, "{method} {path}");
        }
    }
}

async fn unknown_paths_are_not_found(server: Server) {
    for path in [
        "/",
        "/health/",
        "/readyz/unknown",
        "/etcdserverpb.KV/Range",
        "/%00",
    ] {
        for method in ["GET", "POST"] {
            let answer = server.http(method, path).await;
            assert_eq!(answer.status, 404, "{method} {path}");
            assert_eq!(answer.body, "404 page not found\n");
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        }
    }
}

async fn browsers_are_told_that_they_may(server: Server) {
    let (origin, methods, headers) = (
        "access-control-allow-origin",
        "access-control-allow-methods",
        "access-control-allow-headers",
    );
    for (method, path, status) in [
        ("OPTIONS", "/health", 200),
        ("OPTIONS", "/unknown", 200),
        ("GET", "/health", 200),
        ("GET", "/unknown", 404),
    ] {
        let answer = server.http(method, path).await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.header(origin), Some("*"), "{method} {path}");
        let allowed = "POST, GET, OPTIONS, PUT, DELETE";
        assert_eq!(answer.header(methods), Some(allowed));
        let allowed = "accept, content-type, authorization";
        assert_eq!(answer.header(headers), Some(allowed));
    }
}

async fn a_connection_serves_many_requests(server: Server) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", server.client_port()))
        .await
        .unwrap();
    let one = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream
        .write_all(format!("{one}{one}{last}").as_bytes())
        .await
        .unwrap();
    let mut answers = String::new();
    let read = stream.read_to_string(&mut answers);
    tokio::time::timeout(TIMEOUT, read).await.unwrap().unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
}

async fn alarms_are_illnesses(server: Server) {
    let api = server.api().await;
    let member_id = api.ask(get("a")).await.header.unwrap().member_id;
    let ask = async |action: AlarmAction, alarm: AlarmType| {
        api.ask(AlarmRequest {
            action: action.into(),
            member_id,
            alarm: alarm.into(),
        })
        .await
    };
    let check = async |path: &str, status: u16, body: &str| {
        let answer = server.http("GET", path).await;
        assert_eq!((answer.status, answer.body.as_str()), (status, body));
    };
    ask(AlarmAction::Activate, AlarmType::Nospace).await;
    let ill = "{\"health\":\"false\",\"reason\":\"ALARM NOSPACE\"}\n";
    check("/health", 503, ill).await;
    check("/health?serializable=true", 503, ill).await;
    check("/health?exclude=CORRUPT", 503, ill).await;
    check("/health?exclude=NOSPACE", 200, JSON_HEALTHY).await;
    // Ours is ready when a write could succeed.
    check("/readyz?exclude=writable", 200, "ok\n").await;
    ask(AlarmAction::Deactivate, AlarmType::Nospace).await;
    check("/health", 200, JSON_HEALTHY).await;

    ask(AlarmAction::Activate, AlarmType::Corrupt).await;
    let ill = "[-]data_corruption failed: alarm activated: CORRUPT\n\n";
    check("/readyz/data_corruption", 503, ill).await;
    check(
        "/readyz?exclude=data_corruption&exclude=writable",
        200,
        "ok\n",
    )
    .await;
    check("/livez", 200, "ok\n").await;
    let answer = server.http("GET", "/health").await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("ALARM CORRUPT"), "{}", answer.body);
}

#[tokio::test]
async fn http_2_is_understood_without_grpc() {
    let Ok(curl) = std::process::Command::new("curl")
        .args(["--version"])
        .output()
    else {
        eprintln!("skipped: there is no curl");
        return;
    };
    if !String::from_utf8_lossy(&curl.stdout).contains("HTTP2") {
        eprintln!("skipped: curl is without HTTP/2");
        return;
    }
    let server = Server::start(Kind::K8sDqlite).await;
    let answer = std::process::Command::new("curl")
        .args(["--silent", "--http2-prior-knowledge"])
        .args(["--write-out", " %{http_version}"])
        .arg(format!("{}/health", server.client_url()))
        .output()
        .unwrap();
    let answer = String::from_utf8(answer.stdout).unwrap();
    assert_eq!(answer, format!("{JSON_HEALTHY} 2"));
}

parity! { with Options::flags(&["--host-whitelist=localhost,etcd.example", "--cors=http://a.example:8080"]); only_known_names_are_served }

/// The answer to a request with these headers.
async fn with_headers(server: &Server, headers: &str) -> String {
    raw(server, "GET /version", headers, "").await
}

/// The answer to a request of HTTP/1.1 on a connection of its own, in lower case.
async fn raw(server: &Server, request: &str, headers: &str, body: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", server.client_port()))
        .await
        .unwrap();
    let length = body.len();
    let request = format!(
        "{request} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.to_lowercase()
}

async fn only_known_names_are_served(server: Server) {
    for host in ["localhost", "localhost:2379", "etcd.example"] {
        let answer = with_headers(&server, &format!("Host: {host}\r\n")).await;
        assert!(answer.starts_with("http/1.1 200"), "{host}: {answer}");
    }
    for host in ["attacker.example", "127.0.0.1"] {
        let answer = with_headers(&server, &format!("Host: {host}\r\n")).await;
        assert!(answer.starts_with("http/1.1 421"), "{host}: {answer}");
    }
    let page = "Host: localhost\r\nOrigin: http://a.example:8080\r\n";
    let answer = with_headers(&server, page).await;
    assert!(
        answer.contains("access-control-allow-origin: http://a.example:8080"),
        "{answer}"
    );
    // gRPC is not asked.
    assert_eq!(server.api().await.put("a", "1").await, 2);
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused() {
    let options = Options::flags(&["--cors=http://a.example"]);
    let server = Server::start_with(Kind::K8sDqlite, options).await;
    let page = |origin: &str| format!("Host: x\r\nOrigin: {origin}\r\n");
    for (origin, status) in [
        ("http://a.example", "200"),
        ("http://a.example:8080", "200"),
        ("https://a.example", "403"),
        ("null", "403"),
    ] {
        let answer = with_headers(&server, &page(origin)).await;
        assert!(
            answer.starts_with(&format!("http/1.1 {status}")),
            "{origin}: {answer}"
        );
    }
    // A form's content type needs no question of the browser beforehand. "a", "1".
    let put = r#"{"key": "YQ==", "value": "MQ=="}"#;
    for (origin, status) in [("http://b.example", "403"), ("http://a.example", "200")] {
        let headers = format!("{}Content-Type: text/plain\r\n", page(origin));
        let answer = raw(&server, "POST /v3/kv/put", &headers, put).await;
        assert!(
            answer.starts_with(&format!("http/1.1 {status}")),
            "{origin}: {answer}"
        );
    }
    // One of them.
    assert_eq!(server.api().await.revision().await, 2);
}
