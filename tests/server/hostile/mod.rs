//! Bytes that no client would send, to every method: the server lives, and nobody else notices.
//!
//! `HOSTILE_SEED` repeats a run, `HOSTILE_ROUNDS` makes it longer.

mod call;
mod crowds;
mod latency;
mod payload;

use std::collections::BTreeMap;

use etcd_proto::etcdserverpb::alarm_request::AlarmAction;
use etcd_proto::etcdserverpb::{AlarmRequest, RangeRequest};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::harness::*;

/// Calls of each method.
const ROUNDS: u64 = 12;
const SEED: u64 = 1;

/// The growth of the server's memory that is allowed: far above what the requests under way need,
/// and far below what a believed length would take.
const GROWTH_LIMIT_KIB: u64 = 256 * 1024;

const METHODS: &str = "
    etcdserverpb.KV/ Range RangeStream Put DeleteRange Txn Compact
    etcdserverpb.Watch/ Watch
    etcdserverpb.Lease/ LeaseGrant LeaseRevoke LeaseKeepAlive LeaseTimeToLive LeaseLeases
    etcdserverpb.Cluster/ MemberAdd MemberRemove MemberUpdate MemberList MemberPromote
    etcdserverpb.Maintenance/ Alarm Status Defragment Hash HashKV Snapshot MoveLeader Downgrade
    etcdserverpb.Auth/ AuthEnable AuthDisable AuthStatus Authenticate UserAdd UserGet UserList
        UserDelete UserChangePassword UserGrantRole UserRevokeRole RoleAdd RoleGet RoleList
        RoleDelete RoleGrantPermission RoleRevokePermission
    v3lockpb.Lock/ Lock Unlock
    v3electionpb.Election/ Campaign Proclaim Leader Observe Resign
    grpc.health.v1.Health/ Check Watch
    no.such.Service/ Method
";

fn paths() -> Vec<String> {
    let mut paths = Vec::new();
    let mut service = "";
    for word in METHODS.split_whitespace() {
        match word.ends_with('/') {
            true => service = word,
            false => paths.push(format!("/{service}{word}")),
        }
    }
    paths
}

fn from_environment(name: &str, usual: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().expect(name),
        Err(_) => usual,
    }
}

/// Returns the memory of the process in KiB.
fn resident_kib(server: &mut Server) -> u64 {
    let path = format!("/proc/{}/status", server.process().id());
    let status = std::fs::read_to_string(path).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let words = line.unwrap().split_whitespace().nth(1).unwrap();
    words.parse().unwrap()
}

/// A client on the same connection, and one on another.
struct Bystanders {
    api: Api,
    on_the_connection: Watcher,
    elsewhere: Watcher,
}

const KEY: &str = "bystanders";

impl Bystanders {
    async fn new(server: &Server, api: &Api) -> Self {
        let (on_the_connection, _) = Watcher::open(api, watch(KEY)).await;
        let other = server.api().await;
        let (elsewhere, _) = Watcher::open(&other, watch(KEY)).await;
        Self {
            api: other,
            on_the_connection,
            elsewhere,
        }
    }

    async fn check(&mut self, what: &str) {
        // An alarm or a lost key may be what was asked for; that nothing answers cannot be.
        for alarm in self.api.ask(AlarmRequest::default()).await.alarms {
            let disarm = AlarmRequest {
                action: AlarmAction::Deactivate.into(),
                member_id: alarm.member_id,
                alarm: alarm.alarm,
            };
            self.api.ask(disarm).await;
        }
        let revision = self.api.put(KEY, what).await;
        for watcher in [&mut self.on_the_connection, &mut self.elsewhere] {
            loop {
                let event = watcher.events(1).await.pop().unwrap();
                if event.kv.unwrap().mod_revision == revision {
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn mutated_requests_to_every_method_harm_nobody() {
    let seed = from_environment("HOSTILE_SEED", SEED);
    let rounds = from_environment("HOSTILE_ROUNDS", ROUNDS);
    println!("HOSTILE_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut server = Server::start(Kind::K8sDqlite).await;
    let api = server.api().await;
    let mut bystanders = Bystanders::new(&server, &api).await;
    let before = resident_kib(&mut server);
    let mut answers = BTreeMap::new();
    for round in 0..rounds {
        for path in paths() {
            let body = payload::body(path.rsplit('/').next().unwrap(), &mut random);
            if let Some(code) = call::answered(&api, &path, body, &mut random).await {
                *answers.entry(code).or_insert(0) += 1;
            }
            assert!(server.process().exited().is_none(), "round {round}: {path}");
        }
        bystanders.check("still there").await;
        let grown = resident_kib(&mut server).saturating_sub(before);
        assert!(grown < GROWTH_LIMIT_KIB, "{grown} KiB more");
    }
    println!("answers by code: {answers:?}");
    assert!(answers["0"] > 0, "some are taken");
    assert!(answers["3"] > 0, "some are refused for what they say");
    assert!(answers["13"] > 0, "some are no messages");
    assert!(server.terminate().await.success(), "it stops as usual");
}

#[tokio::test]
async fn large_and_deep_requests_harm_nobody() {
    let mut server = Server::start(Kind::K8sDqlite).await;
    let api = server.api().await;
    let mut bystanders = Bystanders::new(&server, &api).await;
    let before = resident_kib(&mut server);
    for (what, path, message, code) in payload::extremes() {
        let body = payload::frame(0, message.len() as u32, &message);
        let answer = call::whole(&api, path, body).await;
        assert_eq!(answer.as_deref(), Some(code), "{what}");
        assert!(server.process().exited().is_none(), "{what}");
        bystanders.check(what).await;
        let grown = resident_kib(&mut server).saturating_sub(before);
        assert!(grown < GROWTH_LIMIT_KIB, "{what}: {grown} KiB more");
    }
}

#[tokio::test]
async fn many_calls_at_once_with_unfinished_bodies_harm_nobody() {
    let mut server = Server::start(Kind::K8sDqlite).await;
    let api = server.api().await;
    let mut bystanders = Bystanders::new(&server, &api).await;
    let before = resident_kib(&mut server);
    let mut random = StdRng::seed_from_u64(SEED);
    // Each claims the most that a message may have, and sends a part of it.
    let mut unfinished = Vec::new();
    for _ in 0..500 {
        let part = vec![0; random.random_range(0..4096)];
        let body = payload::frame(0, 1 << 20, &part);
        unfinished.push(call::unfinished(&api, "/etcdserverpb.KV/Put", body));
    }
    bystanders.check("beside 500 calls").await;
    let grown = resident_kib(&mut server).saturating_sub(before);
    assert!(grown < GROWTH_LIMIT_KIB, "{grown} KiB more");
    drop(unfinished);
    let all = RangeRequest {
        count_only: true,
        ..get_range("\0", "\0")
    };
    assert_eq!(
        api.ask(all).await.count,
        1,
        "no part of a message took effect"
    );
    bystanders.check("after 500 calls").await;
}
