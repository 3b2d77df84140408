//! Profiles: `go tool pprof` opens them, and the server goes on meanwhile.

use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;

use flate2::read::GzDecoder;
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::*;

/// Clients that keep the server busy.
const CLIENTS: usize = 8;

struct Profiled {
    server: Server,
    port: u16,
}

impl Profiled {
    async fn start(flags: &[&str]) -> Self {
        let port = free_port();
        let mut options = Options::flags(&["--profiling"]);
        options
            .flags
            .push(format!("--profiling-listen=127.0.0.1:{port}"));
        options.flags.extend(flags.iter().map(ToString::to_string));
        let server = Server::start_with(Kind::K8sDqlite, options).await;
        Self { server, port }
    }

    /// The status and the body.
    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Vec<u8>) {
        self.ask_as("Host: localhost", method, path, body).await
    }

    /// Asks with these headers.
    async fn ask_as(&self, as_whom: &str, method: &str, path: &str, body: &str) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\n{as_whom}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        tokio::time::timeout(TIMEOUT, read).await.unwrap().unwrap();
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let body = answer.split_off(end.unwrap() + 4);
        let head = String::from_utf8(answer).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        // Short ones come in one piece, long ones with their length.
        assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
        (status, body)
    }

    async fn get(&self, path: &str) -> Vec<u8> {
        let (status, body) = self.ask("GET", path, "").await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        body
    }

    /// Loads the server until the returned set is dropped.
    async fn load(&self) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let api = self.server.api().await;
            clients.spawn(async move {
                for at in 0_u64.. {
                    api.ask(put(format!("/load/{client}/{}", at % 100), vec![b'x'; 512]))
                        .await;
                    api.ask(get(format!("/load/{client}/{}", at % 100))).await;
                }
            });
        }
        clients
    }
}

fn unzip(bytes: &[u8]) -> String {
    let mut plain = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    String::from_utf8_lossy(&plain).into_owned()
}

/// Returns the output of `go tool pprof -top` for a profile; none without Go.
fn top(dir: &Path, profile: &[u8], flags: &[&str]) -> Option<String> {
    let file = dir.join("profile.pb.gz");
    std::fs::File::create(&file)
        .unwrap()
        .write_all(profile)
        .unwrap();
    let ran = Command::new("go")
        .args(["tool", "pprof", "-top", "-nodecount=1000"])
        .args(flags)
        .arg(&file)
        .env("PPROF_TMPDIR", dir)
        .output();
    let Ok(ran) = ran else {
        eprintln!("no go: what it says about profiles was not looked at");
        return None;
    };
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{errors}");
    Some(String::from_utf8(ran.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn processor_time_is_named() {
    let mut profiled = Profiled::start(&[]).await;
    let load = profiled.load().await;
    let second = async {
        until("the first profile is being recorded", async || {
            let (status, body) = profiled
                .ask("GET", "/debug/pprof/profile?seconds=1", "")
                .await;
            // It may have come first.
            status == 500
                && String::from_utf8(body)
                    .unwrap()
                    .contains("cpu profiling already in use")
        })
        .await;
    };
    let profile = async {
        loop {
            let (status, body) = profiled
                .ask("GET", "/debug/pprof/profile?seconds=3", "")
                .await;
            if status == 200 {
                return body;
            }
        }
    };
    let (profile, ()) = tokio::join!(profile, second);
    let names = unzip(&profile);
    // Of a busy machine there may be few samples: what is rarer than these two may be missing.
    for name in ["k8s_dqlite::", "tokio::", "nanoseconds"] {
        assert!(names.contains(name), "{name}");
    }
    if let Some(top) = top(profiled.server.path(), &profile, &[]) {
        assert!(top.contains("Type: cpu"), "{top}");
        assert!(top.contains("k8s_dqlite::"), "{top}");
    }
    let folded = profiled
        .get("/debug/pprof/profile?seconds=1&format=folded")
        .await;
    let folded = String::from_utf8(folded).unwrap();
    let is_line = |line: &str| {
        let (stack, value) = line.rsplit_once(' ').unwrap();
        !stack.is_empty() && value.parse::<i64>().is_ok_and(|value| value > 0)
    };
    assert!(
        folded.lines().count() > 0 && folded.lines().all(is_line),
        "{folded}"
    );
    drop(load);
    assert!(profiled.server.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_named() {
    const VALUE_BYTES: usize = 256 * 1024;
    const COUNT: usize = 100;
    let profiled = Profiled::start(&[]).await;
    let api = profiled.server.api().await;
    for at in 0..COUNT {
        api.ask(put(format!("/big/{at}"), vec![b'x'; VALUE_BYTES]))
            .await;
    }
    let heap = profiled.get("/debug/pprof/heap").await;
    let names = unzip(&heap);
    for name in [
        "inuse_space",
        "alloc_objects",
        "C libraries",
        "k8s_dqlite::",
    ] {
        assert!(names.contains(name), "{name}");
    }
    let folded = profiled.get("/debug/pprof/heap?format=folded").await;
    let folded = String::from_utf8(folded).unwrap();
    let in_rust: usize = folded
        .lines()
        .filter(|line| !line.starts_with("C libraries"))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap())
        .sum();
    // What is stored is in memory, and the estimate is near.
    assert!(in_rust > VALUE_BYTES * COUNT / 2, "{folded}");
    if let Some(top) = top(
        profiled.server.path(),
        &heap,
        &["-sample_index=inuse_space"],
    ) {
        assert!(top.contains("Type: inuse_space"), "{top}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_the_endpoint_is_gos() {
    let profiled = Profiled::start(&[]).await;
    let index = String::from_utf8(profiled.get("/debug/pprof/").await).unwrap();
    assert!(index.contains("profile?seconds=30"));
    let command = String::from_utf8(profiled.get("/debug/pprof/cmdline").await).unwrap();
    assert!(
        command.split('\0').any(|part| part == "--profiling"),
        "{command}"
    );
    for (path, status) in [
        ("/debug/pprof/profile?seconds=0", 400),
        ("/debug/pprof/profile?seconds=86400", 400),
        ("/debug/pprof/heap?format=svg", 400),
        ("/debug/pprof/nothing", 404),
    ] {
        assert_eq!(profiled.ask("GET", path, "").await.0, status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_life_is_profiled_into_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let flag = format!("--profiling-dir={}", dir.path().display());
    let mut profiled = Profiled::start(&[&flag]).await;
    let load = profiled.load().await;
    let (status, body) = profiled
        .ask("GET", "/debug/pprof/profile?seconds=1", "")
        .await;
    assert_eq!(status, 500);
    assert!(String::from_utf8(body).unwrap().contains("already in use"));
    drop(load);
    assert!(profiled.server.terminate().await.success());
    let profile = std::fs::read(dir.path().join("cpu_profile.raw")).unwrap();
    assert!(unzip(&profile).contains("k8s_dqlite::"));
    if let Some(top) = top(dir.path(), &profile, &[]) {
        assert!(top.contains("Type: cpu"), "{top}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_not_there_is_said_at_the_start() {
    let mut options = Options::flags(&["--profiling", "--profiling-dir=/nowhere/at/all"]);
    options
        .flags
        .push(format!("--profiling-listen=127.0.0.1:{}", free_port()));
    let mut server = Server::prepare(Kind::K8sDqlite, options);
    server.launch();
    assert_eq!(server.process().wait().await.code(), Some(2));
    let output = server.output();
    assert!(
        output.contains("failed to create cpu profiling file"),
        "{output}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_page_of_somebody_else_changes_nothing() {
    let profiled = Profiled::start(&[]).await;
    for (as_whom, status) in [
        ("Host: attacker.example", 421),
        ("Host: localhost\r\nOrigin: http://attacker.example", 403),
        ("Host: localhost\r\nOrigin: null", 403),
    ] {
        let asked = profiled.ask_as(as_whom, "PUT", "/debug/log-level", "trace");
        assert_eq!(asked.await.0, status, "{as_whom}");
    }
    for as_whom in [
        "Host: 127.0.0.1:1",
        "Host: [::1]:80\r\nOrigin: http://localhost:8080",
    ] {
        let asked = profiled.ask_as(as_whom, "GET", "/debug/log-level", "");
        assert_eq!(asked.await, (200, b"info\n".to_vec()), "{as_whom}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_level_of_the_log_is_changed_while_it_runs() {
    let mut profiled = Profiled::start(&[]).await;
    assert_eq!(profiled.get("/debug/log-level").await, b"info\n");
    let changed = profiled.ask("PUT", "/debug/log-level", "Debug").await;
    assert_eq!(changed, (200, b"debug\n".to_vec()));
    assert_eq!(profiled.ask("PUT", "/debug/log-level", "loud").await.0, 400);
    assert_eq!(profiled.get("/debug/log-level").await, b"debug\n");
    profiled.server.process().signal(Signal::SIGUSR1);
    until("one level more is written", async || {
        profiled.get("/debug/log-level").await == b"trace\n"
    })
    .await;
    profiled.server.process().signal(Signal::SIGUSR2);
    until("the level is that of the start again", async || {
        profiled.get("/debug/log-level").await == b"info\n"
    })
    .await;
    assert!(
        profiled
            .server
            .output()
            .contains("the level of the log was changed")
    );
}
