//! The report that is made of the answers. Pure. The names of the fields are those of the JSON
//! document: they are kept, and new ones may come.

use dqlite::wire::{NodeId, Server};
use etcd_proto::etcdserverpb::AlarmMember;
use peer_proto::Details;
use serde::Serialize;

use super::{Gathered, StatusTargets};
use crate::store::Pages;

/// The state of the cluster. See docs/operations.md for the exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    Healthy,
    /// It works, but not all is as it should be.
    Degraded,
    /// No node that was reached leads.
    NoLeader,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub health: Health,
    /// The reasons why it is not healthy.
    pub problems: Vec<String>,
    /// Findings that do no harm yet.
    pub warnings: Vec<String>,
    /// The id of the history, hexadecimal as in the header of each answer; null where no node knows
    /// it.
    pub cluster_id: Option<String>,
    pub leader: Option<Leader>,
    pub revision: Option<i64>,
    pub compact_revision: Option<i64>,
    pub leases: Option<u64>,
    pub database_bytes: Option<u64>,
    pub database_free_bytes: Option<u64>,
    pub nodes: Vec<NodeReport>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leader {
    pub id: String,
    pub address: String,
    pub term: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeReport {
    /// Hexadecimal, as etcdctl has it; null where only the address is known.
    pub id: Option<String>,
    pub address: String,
    pub role: &'static str,
    /// True for the node whose directory was read.
    pub is_own: bool,
    pub is_leader: bool,
    /// True if the node answered; otherwise `error` says why not.
    pub is_reachable: bool,
    pub error: Option<String>,
    /// True if the node belongs to another history than the others: nothing that it says is of this
    /// cluster.
    pub is_foreign: bool,
    /// True if the node has the store and answers clients.
    pub is_ready: bool,
    pub version: Option<String>,
    pub term: Option<u64>,
    pub revision: Option<i64>,
    /// Revisions by which the leader was ahead. The nodes were asked at about the same time: some
    /// are normal under load.
    pub lag: Option<i64>,
    pub log_bytes: Option<u64>,
    pub snapshot_bytes: Option<u64>,
    /// The end of the certificate, in seconds since 1970.
    pub certificate_expires_s: Option<i64>,
}

/// The time before its end from which on a certificate is worth a warning.
const CERTIFICATE_WARNING_S: i64 = 30 * DAY_S;
const DAY_S: i64 = 24 * 3600;

impl Report {
    pub fn new(targets: &StatusTargets, gathered: Gathered, now_s: i64) -> Self {
        let servers = gathered.servers().unwrap_or(&targets.servers);
        let leader = gathered.leader();
        let revision = leader.map(|(_, info)| info.revision);
        let leader_address = leader.map(|(answer, _)| answer.address.as_str());
        let nodes: Vec<NodeReport> = servers
            .iter()
            .map(|server| {
                let mut node = node(server, &gathered, revision);
                node.is_own = server.address == targets.own.address;
                node.is_leader = leader_address == Some(&server.address);
                if node.is_own {
                    let own = targets.certificate_expires_s;
                    node.certificate_expires_s = node.certificate_expires_s.or(own);
                }
                node
            })
            .collect();
        let told = leader
            .map(|(_, info)| info.cluster_id)
            .filter(|id| *id != 0);
        let cluster_id = targets.cluster_id.or(told);
        let details = leader.and_then(|(_, info)| info.details.as_ref());
        let pages = details.and_then(|details| details.pages);
        let pages = pages.map(|pages| Pages {
            total: pages.total,
            free: pages.free,
        });
        let mut problems = match leader {
            Some(_) => Vec::new(),
            None => vec!["none of the nodes that answer is the leader".to_owned()],
        };
        let mut warnings = Vec::new();
        for node in &nodes {
            problems.extend(problem(node, now_s));
            warnings.extend(warning(node, now_s));
        }
        problems.extend(gathered.revisions_ahead().map(ahead));
        let newest = gathered.answers.iter().filter_map(|a| a.info.as_ref().ok());
        let newest = newest.max_by_key(|info| info.revision);
        let alarms = newest.and_then(|info| info.details.as_ref());
        problems.extend(alarms.into_iter().flat_map(|d| &d.alarms).map(alarm));
        let is_listed = nodes.iter().any(|node| node.is_own);
        if leader.is_some() && !is_listed {
            problems.push(format!(
                "{}, whose directory this is, is no node of the cluster any more",
                targets.own.address
            ));
        }
        let health = match (leader, problems.is_empty()) {
            (None, _) => Health::NoLeader,
            (Some(_), false) => Health::Degraded,
            (Some(_), true) => Health::Healthy,
        };
        Self {
            health,
            problems,
            warnings,
            cluster_id: cluster_id.map(|id| format!("{id:x}")),
            leader: leader.map(|(answer, info)| Leader {
                id: format!("{:x}", info.member_id),
                address: answer.address.clone(),
                term: info.view.as_ref().map_or(0, |view| view.term),
            }),
            revision,
            compact_revision: leader.map(|(_, info)| info.compact_revision),
            leases: details.and_then(|details| details.leases),
            database_bytes: pages.map(|pages| pages.total_bytes()),
            database_free_bytes: pages.map(|pages| pages.total_bytes() - pages.used_bytes()),
            nodes,
        }
    }
}

fn node(server: &Server, gathered: &Gathered, leader_revision: Option<i64>) -> NodeReport {
    let answer = gathered.answer(&server.address);
    let info = answer.and_then(|answer| answer.info.as_ref().ok());
    let error = match answer {
        Some(answer) => answer.info.as_ref().err().cloned(),
        None => Some("not asked".to_owned()),
    };
    let details: Option<&Details> = info.and_then(|info| info.details.as_ref());
    let id = info.map_or(server.id, |info| NodeId::new(info.member_id));
    let revision = info.map(|info| info.revision).filter(|r| *r > 0);
    NodeReport {
        id: (!id.is_unknown()).then(|| format!("{id:x}")),
        address: server.address.clone(),
        role: server.role.name(),
        is_own: false,
        is_leader: false,
        is_reachable: info.is_some(),
        is_foreign: answer.is_some_and(|answer| gathered.is_foreign(answer)),
        error,
        // One without details is of an older version, whose answer is all that is known.
        is_ready: info.is_some() && details.is_none_or(|details| details.is_ready),
        version: info.map(|info| info.version.clone()),
        term: info.and_then(|info| Some(info.view.as_ref()?.term)),
        revision,
        lag: revision.and_then(|own| Some((leader_revision? - own).max(0))),
        log_bytes: details.map(|details| details.log_bytes),
        snapshot_bytes: details.map(|details| details.snapshot_bytes),
        certificate_expires_s: details.and_then(|details| details.certificate_expires_s),
    }
}

fn problem(node: &NodeReport, now_s: i64) -> Option<String> {
    let address = &node.address;
    match (&node.error, node.certificate_expires_s) {
        (Some(error), _) => Some(format!("{address} cannot be reached: {error}")),
        (None, _) if node.is_foreign => Some(format!(
            "the node at {address} belongs to another cluster: it was restored, recovered or set up anew; stop it, \
             and let it join this one with an empty directory, or remove it"
        )),
        (None, _) if !node.is_ready => Some(format!("{address} has not received the store yet")),
        (None, Some(end)) if end <= now_s => {
            Some(format!("the certificate of {address} has expired"))
        }
        _ => None,
    }
}

fn ahead((address, count): (&str, i64)) -> String {
    format!(
        "{address} has {count} revisions that the leader does not have: what was acknowledged may be lost; an old \
         copy of a directory came back. Stop all nodes, and see \"A node is ahead of its leader\" in the documentation"
    )
}

fn warning(node: &NodeReport, now_s: i64) -> Option<String> {
    let left_s = node.certificate_expires_s? - now_s;
    (1..CERTIFICATE_WARNING_S).contains(&left_s).then(|| {
        format!(
            "the certificate of {} expires in {} days",
            node.address,
            left_s / DAY_S
        )
    })
}

fn alarm(alarm: &AlarmMember) -> String {
    let kind = alarm.alarm().as_str_name();
    format!("the alarm {kind} is raised by node {:x}", alarm.member_id)
}
