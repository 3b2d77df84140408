//! The time after which a new client is served while others attack, here and on etcd, as a table.
//!
//! `HOSTILE_PROBES` makes it more exact, and asks for etcd.

use std::env;
use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::runtime;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep, timeout};
use tonic::transport::Endpoint;

use super::crowds::{HALF_OPEN, PREFACE, SERVED_WITHIN, SILENT, UNFINISHED, part};
use super::{call, from_environment};
use crate::auth::{add_user, authenticate, enable};
use crate::harness::*;

const PROBES: u64 = 5;

const SIGN_INS: usize = 500;

/// An attacker gives up one attempt after it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Those who sign in again and again have an address of their own, and a pause between two attempts.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const AGAIN_AFTER: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attack {
    Nobody,
    Silent,
    HalfOpen,
    UnfinishedPuts,
    SignIns,
}

impl Attack {
    const ALL: [Attack; 5] = [
        Attack::Nobody,
        Attack::Silent,
        Attack::HalfOpen,
        Attack::UnfinishedPuts,
        Attack::SignIns,
    ];

    fn name(self) -> String {
        match self {
            Attack::Nobody => "nobody".to_owned(),
            Attack::Silent => format!("{SILENT} silent connections"),
            Attack::HalfOpen => format!("{HALF_OPEN} half-open TLS handshakes"),
            Attack::UnfinishedPuts => format!("{UNFINISHED} unfinished puts of 2 MiB"),
            Attack::SignIns => format!("{SIGN_INS} sign-ins at a time, of another address"),
        }
    }
}

/// The attackers, until it is dropped.
struct Attackers {
    _connections: Vec<TcpStream>,
    _calls: Vec<call::Unfinished>,
    _sign_ins: JoinSet<()>,
}

async fn attack(attack: Attack, server: &Server) -> Attackers {
    let port = server.client_port();
    let mut attackers = Attackers {
        _connections: Vec::new(),
        _calls: Vec::new(),
        _sign_ins: JoinSet::new(),
    };
    match attack {
        Attack::Nobody => {}
        Attack::Silent => {
            attackers._connections = crowd(port, SILENT, &[b"", b"G", PREFACE]).await;
        }
        Attack::HalfOpen => {
            attackers._connections = crowd(port, HALF_OPEN, &[b"", CLIENT_HELLO]).await;
        }
        Attack::UnfinishedPuts => {
            let api = server.api().await;
            let body = part();
            let unfinished = || call::unfinished(&api, "/etcdserverpb.KV/Put", body.clone());
            attackers._calls = (0..UNFINISHED).map(|_| unfinished()).collect();
        }
        Attack::SignIns => {
            let elsewhere = Endpoint::from_shared(server.plain_url().await).unwrap();
            let elsewhere = elsewhere.local_address(Some(ELSEWHERE.into()));
            let api = Api::over(elsewhere.connect().await.unwrap());
            for _ in 0..SIGN_INS {
                let api = api.clone();
                attackers._sign_ins.spawn(async move {
                    // Whoever was answered comes again.
                    loop {
                        let refused = api.try_ask(authenticate("alice", "wrong"));
                        let _ = timeout(PATIENCE, refused).await;
                        sleep(AGAIN_AFTER).await;
                    }
                });
            }
        }
    }
    attackers
}

/// Returns the time for a connection and a put or, with users, a sign-in, or `None` without an answer.
async fn probe(server: &Server, signs_in: bool) -> Option<Duration> {
    let url = server.plain_url().await;
    let began = Instant::now();
    let served = tokio::spawn(async move {
        let api = Api::connect(&url).await;
        match signs_in {
            true => drop(api.ask(authenticate("root", "root")).await),
            false => drop(api.put("probe", "1").await),
        }
    });
    let served = timeout(TIMEOUT, served).await.ok()?;
    served.ok().map(|()| began.elapsed())
}

async fn start(kind: Kind, attack: Attack) -> Server {
    let mut options = Options::default();
    if attack == Attack::HalfOpen {
        let pki = Pki::new();
        options.flags = pki.flags();
        options.tls = Some(pki.client(None));
    }
    let server = Server::start_with(kind, options).await;
    if attack == Attack::SignIns {
        let root = enable(&server.api().await).await;
        add_user(&root, "alice", &[]).await;
    }
    server
}

/// Returns the median and the longest time, each `None` if nobody was served.
async fn measure(kind: Kind, by: Attack, probes: u64) -> [Option<Duration>; 2] {
    let server = Arc::new(start(kind, by).await);
    // A thread of their own, so that clients do not wait for each other.
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let attacked = server.clone();
    let attackers = runtime.spawn(async move { attack(by, &attacked).await });
    let attackers = attackers.await.unwrap();
    let mut times = Vec::new();
    for _ in 0..probes {
        times.push(
            probe(&server, by == Attack::SignIns)
                .await
                .unwrap_or(Duration::MAX),
        );
    }
    drop(attackers);
    runtime.shutdown_background();
    times.sort();
    [times[times.len() / 2], times[times.len() - 1]].map(|time| (time < TIMEOUT).then_some(time))
}

fn shown([median, longest]: [Option<Duration>; 2]) -> String {
    let ms = |time: Option<Duration>| match time {
        Some(time) => format!("{:.1}", time.as_secs_f64() * 1000.0),
        None => "none in 30 s".to_owned(),
    };
    format!("{} / {}", ms(median), ms(longest))
}

#[tokio::test]
async fn a_new_client_is_served_soon_whoever_attacks() {
    let probes = from_environment("HOSTILE_PROBES", PROBES);
    // It takes half a minute for a sign-in.
    let is_asked = env::var_os("HOSTILE_PROBES").is_some();
    let has_etcd = is_asked && env::var_os("ETCD_BIN").is_some();
    println!("| Attackers | k8s-dqlite: median / longest, ms | etcd |\n|---|---|---|");
    let mut late = Vec::new();
    for by in Attack::ALL {
        let ours = measure(Kind::K8sDqlite, by, probes).await;
        let etcd = match has_etcd {
            true => shown(measure(Kind::Etcd, by, probes).await),
            false => "not here".to_owned(),
        };
        println!("| {} | {} | {etcd} |", by.name(), shown(ours));
        if ours[0].is_none_or(|median| median > SERVED_WITHIN) {
            late.push(by);
        }
    }
    assert!(late.is_empty(), "{late:?}");
}
