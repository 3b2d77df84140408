//! Leases that are kept alive for a while, on changing nodes, and then left or revoked.

use std::sync::Arc;
use std::time::Duration;

use etcd_proto::etcdserverpb::LeaseKeepAliveRequest;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::call::{CALL_TIMEOUT, call};
use super::history::{Call, Lease};
use super::run::Run;
use crate::harness::*;

pub const PREFIX: &str = "/lease/";

const KEEPERS: usize = 6;

/// Longer than an election takes, so that some are kept over one; etcd's own lower limit is near.
const TTL_S: i64 = 3;

const KEEP_REPEAT: Duration = Duration::from_millis(400);

pub fn start(run: &Arc<Run>, seed: u64) -> Vec<JoinHandle<()>> {
    let keeper = |index: usize| {
        let random = StdRng::seed_from_u64(seed.wrapping_add(index as u64));
        tokio::spawn(keep_leases(run.clone(), index, random))
    };
    (0..KEEPERS).map(keeper).collect()
}

async fn keep_leases(run: Arc<Run>, keeper: usize, mut random: StdRng) {
    let mut number = 0;
    while !run.is_stopped() {
        let node = random.random_range(0..run.urls.len());
        let asked = run.now();
        let api = run.api(node);
        let Ok(Ok(granted)) = timeout(CALL_TIMEOUT, api.try_ask(grant(TTL_S))).await else {
            tokio::time::sleep(POLL_INTERVAL).await;
            continue;
        };
        number += 1;
        let mut lease = Lease {
            key: format!("{PREFIX}{keeper}/{number}").into(),
            ttl: Duration::from_secs(granted.ttl as u64),
            kept: vec![asked],
            revoked: None,
        };
        let attach = Call::Put {
            key: lease.key.clone(),
            value: run.unique_value().into(),
            lease: granted.id,
        };
        call(&run, &api, node, attach).await;
        for _ in 0..random.random_range(0..20) {
            if run.is_stopped() {
                break;
            }
            let api = run.api(random.random_range(0..run.urls.len()));
            let asked = run.now();
            if let Some(ttl_s) = keep_alive(&api, granted.id).await {
                if ttl_s <= 0 {
                    break;
                }
                lease.kept.push(asked);
            }
            tokio::time::sleep(KEEP_REPEAT).await;
        }
        if random.random_bool(0.3) {
            lease.revoked = Some(run.now());
            let _ = timeout(CALL_TIMEOUT, api.try_ask(revoke(granted.id))).await;
        }
        run.record_lease(lease);
    }
}

async fn keep_alive(api: &Api, id: i64) -> Option<i64> {
    let asked = async {
        let requests = tokio_stream::once(LeaseKeepAliveRequest { id });
        let answers = api.lease.clone().lease_keep_alive(requests).await.ok()?;
        Some(answers.into_inner().message().await.ok()??.ttl)
    };
    timeout(CALL_TIMEOUT, asked).await.ok()?
}
