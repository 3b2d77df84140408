//! The reconciler: in rounds it makes rows, dqlite's servers and the truststores agree.
//!
//! Every member reads the rows and trusts whom they name. The leader alone writes: roles, times, and what
//! `plan` finds safe to repair. Invariants: rounds of one node do not overlap; servers are read before rows, so
//! that a node that is just joining is never seen without its row; a round that is interrupted harms nothing.

mod removal;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use dqlite::wire::Server;
use serde_json::{Map, Value, json};
use stopping::warn;
use tokio::time::{sleep, timeout};
use tracing::info;

use crate::{
    Error,
    api::{ClusterMember, SCHEMA_INTERNAL},
    cluster::{Cluster, INTERVAL},
    failpoint::duration_from_env,
    peers::beat,
    plan::{Due, Finding, GracePeriods, Note, Records, Removal, Repair, findings, notes},
    time::now_s,
};

use removal::{carry_on, tell as tell_removed};

pub use removal::{Asked, remove};

/// The pause after a round that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Rounds that fail in a row before the log warns of them: one that meets an election does.
const WARN_FAILURES: u32 = 3;

/// The shortest time between two rounds, however often somebody asks for one.
const MIN_PAUSE: Duration = Duration::from_millis(500);

/// The age at which a pending member that has not shown up is given up.
const PENDING: Duration = Duration::from_secs(300);

/// The longest time that a join lasts after the node was let in.
const GHOST: Duration = Duration::from_secs(60);

/// The time for which only the node that began a removal carries it on.
const REMOVAL: Duration = Duration::from_secs(20);

pub fn grace_periods() -> GracePeriods {
    GracePeriods {
        pending: duration_from_env("K8SD_PENDING_MS", PENDING),
        ghost: duration_from_env("K8SD_GHOST_MS", GHOST),
        removal: duration_from_env("K8SD_REMOVAL_MS", REMOVAL),
    }
}

/// Runs rounds until it is dropped.
pub async fn run(cluster: &Cluster) {
    let interval = duration_from_env("K8SD_INTERVAL_MS", INTERVAL);
    let (mut told, mut failures) = (BTreeSet::new(), 0);
    loop {
        let pause = match round(cluster).await {
            Ok(findings) => {
                failures = 0;
                told = tell(findings, &told);
                interval
            }
            Err(error) => {
                failures += 1;
                let text = "cannot reconcile the members; trying again";
                match failures < WARN_FAILURES {
                    true => info!(%error, "{text}"),
                    false => warn!(%error, "{text}"),
                }
                RETRY_PAUSE
            }
        };
        sleep(MIN_PAUSE).await;
        // Either is a reason for the next round.
        let _ = timeout(pause, cluster.asked.notified()).await;
    }
}

/// Logs what only `cluster check --repair` may repair, each finding once. Returns all such findings.
fn tell(findings: Vec<Finding>, told: &BTreeSet<String>) -> BTreeSet<String> {
    let is_theirs = |finding: &&Finding| finding.due == Due::Asked;
    let texts: BTreeSet<String> = findings
        .iter()
        .filter(is_theirs)
        .map(|finding| finding.text.clone())
        .collect();
    for text in texts.difference(told) {
        warn!("{text}: see `k8sd cluster check`");
    }
    texts
}

/// Runs one round. Returns what is left to repair.
pub async fn round(cluster: &Cluster) -> Result<Vec<Finding>, Error> {
    let _alone = cluster.rounds.lock().await;
    let leads = leads(cluster);
    let servers = match leads {
        true => cluster.nodes().leader().await?.cluster().await?,
        false => cluster.member.status().borrow().servers.to_vec(),
    };
    let records = cluster.database.records().await?;
    look_at_news(cluster, &records);
    let now = Instant::now();
    cluster.memory().note(&servers, &records, now);
    let mut left = Vec::new();
    if leads {
        left = lead(cluster, &servers, &records).await?;
    }
    cluster.refresh_trust().await?;
    Ok(left)
}

/// Nodes that came or went since this one last looked at dqlite's servers: cluster.yaml, by which it starts and
/// is recovered, is to have them soon.
fn look_at_news(cluster: &Cluster, records: &Records) {
    let status = cluster.member.status();
    let known = &status.borrow().servers;
    let is_known = |address: &str| known.iter().any(|server| server.address == address);
    let members = &records.members;
    if members.len() != known.len() || members.iter().any(|r| !is_known(&r.member.address)) {
        cluster.member.notify();
    }
}

fn leads(cluster: &Cluster) -> bool {
    let status = cluster.member.status();
    let status = status.borrow();
    match &status.leader {
        Some(leader) => leader.id == cluster.identity.id,
        // The one that begins a cluster has not looked yet.
        None => cluster.identity.bootstrap,
    }
}

async fn lead(
    cluster: &Cluster,
    servers: &[Server],
    records: &Records,
) -> Result<Vec<Finding>, Error> {
    let own = &cluster.own.name;
    if !records.members.iter().any(|r| r.member.name == *own) {
        return Ok(Vec::new());
    }
    let others = records.members.iter().filter(|r| r.member.name != *own);
    let others = others.map(|r| (r.member.name.clone(), r.member.address.clone()));
    let answered = beat(cluster, others.collect(), &heartbeat(records)).await;
    let answered = answered.into_iter().chain([own.clone()]).collect();
    let notes = notes(servers, records, &answered, now_s());
    for note in &notes {
        if is_new(records, note) {
            info!(
                name = note.name,
                role = note.role,
                "a pending member has answered"
            );
        }
    }
    cluster
        .database
        .note(&notes, records.has_expired_tokens)
        .await?;
    let grace_periods = grace_periods();
    let due: Vec<Removal> = {
        let memory = cluster.memory();
        let left = memory.left(&records.removals, grace_periods, Instant::now());
        left.cloned().collect()
    };
    for removal in due {
        let carried = match removal.is_effective(servers, records) {
            true => tell_removed(cluster, &removal).await,
            false => carry_on(cluster, &removal).await,
        };
        if let Err(error) = carried {
            warn!(name = removal.name, %error, "a removal is not finished; trying again");
        }
    }
    let mut left = Vec::new();
    for finding in look(cluster, servers, records) {
        match (&finding.repair, finding.due) {
            // The one is done above, the other at the end of the round.
            (Some(Repair::Finish(_) | Repair::Trust), _) => {}
            // Who has shown up in this very round is not late.
            (Some(Repair::Remove { name, .. }), _) if notes.iter().any(|n| n.name == *name) => {}
            (Some(repair), Due::Now) => {
                warn!("{}: repairing it", finding.text);
                if let Err(error) = mend(cluster, repair).await {
                    warn!(%error, "could not repair it; trying again");
                }
            }
            _ => left.push(finding),
        }
    }
    Ok(left)
}

fn is_new(records: &Records, note: &Note) -> bool {
    let mut members = records.members.iter();
    members.any(|r| r.member.name == note.name && r.member.role == crate::api::PENDING)
}

/// Returns a heartbeat in microcluster's form. Its receivers trust none of it, and read the rows.
fn heartbeat(records: &Records) -> Value {
    let member = |member: &ClusterMember| (member.address.clone(), json!(member));
    let members: Map<String, Value> = records.members.iter().map(|r| member(&r.member)).collect();
    json!({"cluster_members": members, "max_schema_internal": SCHEMA_INTERNAL, "max_schema_external": 0})
}

/// Returns the findings of this moment.
pub fn look(cluster: &Cluster, servers: &[Server], records: &Records) -> Vec<Finding> {
    let trusted: Vec<String> = cluster
        .trust
        .entries()
        .into_iter()
        .map(|e| e.name)
        .collect();
    let id = cluster.identity.id;
    let now = (Instant::now(), now_s());
    let memory = cluster.memory();
    findings(
        servers,
        records,
        &trusted,
        &memory,
        grace_periods(),
        id,
        now,
    )
}

pub async fn mend(cluster: &Cluster, repair: &Repair) -> Result<(), Error> {
    match repair {
        Repair::Remove { name, only_pending } => {
            let asked = Asked {
                force: true,
                only_pending: *only_pending,
            };
            remove(cluster, name, asked).await
        }
        Repair::RemoveServer(id) => {
            dqlite::cluster::remove(&mut cluster.nodes(), *id).await?;
            Ok(())
        }
        Repair::Finish(removal) => carry_on(cluster, removal).await,
        Repair::Trust => cluster.refresh_trust().await,
    }
}
