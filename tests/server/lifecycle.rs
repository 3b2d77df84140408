//! Starting and stopping.

use std::time::{Duration, Instant};

use dqlite::client::{ConnectOptions, Connection, Endpoint};
use etcd_proto::etcdserverpb::WatchCreateRequest;
use nix::sys::signal::Signal;
use tonic::Code;

use crate::harness::*;

parity! {
    everything_is_there_after_a_stop,
    watches_end_with_the_server,
}

async fn everything_is_there_after_a_stop(mut server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    api.put("a", "2").await;
    api.put("b", "1").await;
    api.delete("b").await;
    for restart in 0..3 {
        server.terminate().await;
        server.restart().await;
        let api = server.api().await;
        let all = api.ask(get_range("\0", "\0")).await;
        assert_eq!(all.kvs, [kv("a", "2", (2, 3, 2))], "restart {restart}");
        assert_eq!(at(&all.header), 5);
        let create = WatchCreateRequest {
            start_revision: 2,
            ..watch_prefix("a")
        };
        let (mut watcher, _) = Watcher::open(&api, create).await;
        assert_eq!(
            event_lines(&watcher.events(2).await),
            ["PUT a=1 @2", "PUT a=2 @3"]
        );
    }
}

async fn watches_end_with_the_server(mut server: Server) {
    let api = server.api().await;
    let (mut watcher, _) = Watcher::open(&api, watch("a")).await;
    server.terminate().await;
    match watcher.try_next().await {
        // What clients resume on.
        Err(status) => {
            let codes = [
                Code::Unavailable,
                Code::Cancelled,
                Code::Internal,
                Code::Unknown,
            ];
            assert!(codes.contains(&status.code()), "{status}");
        }
        Ok(Some(response)) => assert!(response.canceled, "{response:?}"),
        Ok(None) => {}
    }
}

#[tokio::test]
async fn each_stop_signal_ends_it_cleanly() {
    let mut server = Server::start(Kind::K8sDqlite).await;
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGPWR,
    ] {
        let revision = server.api().await.put("a", signal.as_str()).await;
        server.process().signal(signal);
        let status = server.process().wait().await;
        assert_eq!(status.code(), Some(0), "{signal}: {status}");
        server.kill9();
        server.restart().await;
        assert_eq!(server.api().await.revision().await, revision);
    }
}

/// Less than the engine has for its stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_statement_without_an_end_does_not_hold_up_the_exit() {
    let mut server = Server::start(Kind::K8sDqlite).await;
    server.api().await.put("a", "1").await;
    let endpoint = Endpoint::Tcp(format!("127.0.0.1:{}", server.node_port()));
    let mut connection = Connection::connect(&endpoint, ConnectOptions::default())
        .await
        .expect("dqlite's port");
    connection.open("k8s").await.unwrap();
    tokio::spawn(async move {
        let endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c WHERE x < 0";
        let _ = connection.query_sql(endless, &[]).await;
    });
    let stat = format!("/proc/{}/stat", server.process().id());
    let ticks = || -> u64 {
        let stat = std::fs::read_to_string(&stat).unwrap();
        let fields = stat.rsplit(')').next().unwrap();
        fields.split_whitespace().nth(11).unwrap().parse().unwrap()
    };
    let before = ticks();
    until("it computes", async || ticks() > before + 50).await;
    server.process().signal(Signal::SIGTERM);
    let deadline = Instant::now() + STOP_TIMEOUT;
    let status = loop {
        if let Some(status) = server.process().exited() {
            break status;
        }
        assert!(Instant::now() < deadline, "it still runs");
        tokio::time::sleep(POLL_INTERVAL).await;
    };
    assert!(status.success(), "{status}");
    server.forget();
    server.restart().await;
    assert_eq!(server.api().await.revision().await, 2);
}

#[tokio::test]
async fn it_stops_while_clients_hold_streams_and_write() {
    let mut server = Server::start(Kind::K8sDqlite).await;
    let api = server.api().await;
    let mut watchers = Vec::new();
    for _ in 0..20 {
        watchers.push(Watcher::open(&api, watch("a")).await.0);
    }
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let api = api.clone();
            tokio::spawn(async move {
                let mut last = 0;
                while let Ok(answer) = api.try_ask(put("a", "v")).await {
                    last = at(&answer.header);
                }
                last
            })
        })
        .collect();
    until("some are written", async || api.revision().await > 100).await;
    assert_eq!(server.terminate().await.code(), Some(0));
    let mut acknowledged = 0;
    for writer in writers {
        acknowledged = acknowledged.max(writer.await.unwrap());
    }
    server.restart().await;
    assert!(server.api().await.revision().await >= acknowledged);
}

/// Returns how often the threads of a process have gone to sleep so far.
fn sleeps(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of_task = |task: std::fs::DirEntry| -> Option<u64> {
        // A thread may end meanwhile.
        let status = std::fs::read_to_string(task.path().join("status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse().ok()
    };
    tasks.filter_map(|task| of_task(task.unwrap())).sum()
}

/// Wake-ups are counted, since the CPU time of one depends on what else the machine does. Quiet, it is
/// 160 per second; a task that asks for news in a loop makes thousands.
#[tokio::test]
async fn an_idle_server_is_idle() {
    const WAKE_UPS_PER_S_MAX: f64 = 500.0;
    let mut server = Server::start(Kind::K8sDqlite).await;
    let api = server.api().await;
    api.put("a", "1").await;
    let (_watcher, _) = Watcher::open(&api, watch("a")).await;
    let pid = server.process().id();
    let (began_at, before) = (Instant::now(), sleeps(pid));
    // Here the passing of time is what is tested.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let per_s = (sleeps(pid) - before) as f64 / began_at.elapsed().as_secs_f64();
    println!("idle: {per_s:.0} wake-ups per second");
    assert!(per_s > 1.0, "nothing was counted");
    assert!(per_s < WAKE_UPS_PER_S_MAX, "{per_s:.0} wake-ups per second");
}

#[tokio::test]
async fn a_store_of_many_keys_starts_again() {
    const KEYS: usize = 20_000;
    let mut server = Server::start(Kind::K8sDqlite).await;
    let api = server.api().await;
    let value = "v".repeat(1024);
    for first in (0..KEYS).step_by(100) {
        let puts = (first..first + 100).fold(txn(), |txn, index| {
            txn.then(put(format!("k{index}"), value.clone()))
        });
        api.ask(puts).await;
    }
    server.kill9();
    // Within the harness's deadline for a start.
    server.restart().await;
    assert_eq!(
        server.api().await.ask(get_prefix("k")).await.count,
        KEYS as i64
    );
    assert!(server.output().contains("loaded the store"));
}
