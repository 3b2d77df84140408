//! The report that is made of the answers. Pure. The names of the fields are those of the JSON
//! document: they are kept, and new ones may come.

use dqlite::wire::{NodeId, Role, Server};
use etcd_proto::etcdserverpb::{AlarmMember, AlarmType};
use etcd_state::requests::RequestError;
use peer_proto::{AboutResponse, CertificateStep, Details};
use serde::Serialize;

use super::{
    Gathered, NodeAnswer, StatusTargets,
    judge::{Finding, Health, Kind, Voters},
};
use crate::{cluster::peer::DISK_IS_LOW, config, store::Pages};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub health: Health,
    /// The state in one sentence: what is wrong, or that nothing is.
    pub summary: String,
    /// The remedy; null if there is nothing to do.
    pub remedy: Option<String>,
    /// The section of docs/operations.md about it.
    pub section: Option<&'static str>,
    /// The kind of the problem that `summary` tells.
    #[serde(skip)]
    pub worst: Option<Kind>,
    /// Voters that may fail while writes go on; null where too many have, or it is not known.
    pub tolerated_failures: Option<usize>,
    /// The reasons why it is not healthy, the worst first.
    pub problems: Vec<String>,
    /// Findings that do no harm yet.
    pub warnings: Vec<String>,
    /// The problems and the warnings, each with its remedy.
    #[serde(skip)]
    pub findings: (Vec<Finding>, Vec<Finding>),
    /// The id of the history, hexadecimal as in the header of each answer; null where no node knows
    /// it.
    pub cluster_id: Option<String>,
    pub leader: Option<Leader>,
    pub revision: Option<i64>,
    /// Null before the first compaction.
    pub compact_revision: Option<i64>,
    pub leases: Option<u64>,
    pub database_bytes: Option<u64>,
    pub database_free_bytes: Option<u64>,
    /// The archive, as the leader writes it; null if it writes none.
    pub archive: Option<ArchiveReport>,
    pub nodes: Vec<NodeReport>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArchiveReport {
    /// The revision up to which it has everything.
    pub last_revision: i64,
    /// The age of the oldest change that it lacks.
    pub behind_s: u64,
    pub behind_bytes: u64,
    /// Since when every attempt to write it fails, in seconds since 1970, and why; null if the last one succeeded.
    pub failing_since_s: Option<u64>,
    pub reason: Option<String>,
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
    /// Revisions that the node has and the leader has not: acknowledged writes may be lost.
    pub ahead: Option<i64>,
    /// True if its version is not the leader's.
    pub is_other_version: bool,
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
    /// The days that are left until then, rounded down; negative once it has expired.
    pub certificate_days_left: Option<i64>,
    /// `trust` or `use`: the last step of the node on its way to another pair; null if it has one pair.
    pub certificate_step: Option<&'static str>,
}

/// The steps of a node on its way to another pair, as reports name them.
const TRUSTS: &str = "trust";
const USES: &str = "use";

/// The days before its end from which on a certificate is worth a warning.
pub const CERTIFICATE_WARNING_DAYS: i64 = 30;
pub const DAY_S: i64 = 24 * 3600;

impl Report {
    pub fn new(targets: &StatusTargets, gathered: Gathered, now_s: i64) -> Self {
        let servers = gathered.servers().unwrap_or(&targets.servers);
        let leader = gathered.leader();
        let revision = leader.map(|(_, info)| info.revision);
        let leader_address = leader.map(|(answer, _)| answer.address.as_str());
        let nodes: Vec<NodeReport> = servers
            .iter()
            .map(|server| {
                let mut node = node(server, &gathered, leader.map(|(_, info)| info));
                node.is_own = server.address == targets.own.address;
                node.is_leader = leader_address == Some(&server.address);
                if node.is_own {
                    let own = targets.certificate_expires_s;
                    node.certificate_expires_s = node.certificate_expires_s.or(own);
                }
                let left_s = node.certificate_expires_s.map(|end| end - now_s);
                node.certificate_days_left = left_s.map(|left_s| left_s.div_euclid(DAY_S));
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
        let expired = Expired::of(targets, &gathered, &nodes, now_s);
        let voters = Voters {
            all: nodes.iter().filter(|node| node.is_voter()).count(),
            up: nodes
                .iter()
                .filter(|node| node.is_voter() && node.works())
                .count(),
        };
        let mut findings: Vec<Finding> = expired.finding().into_iter().collect();
        if leader.is_none() && !expired.hides_leader {
            findings.push(no_leader(&nodes, voters));
        }
        findings.extend(nodes.iter().filter_map(|node| problem(node, &expired)));
        findings.extend(nodes.iter().filter_map(ahead));
        let newest = gathered.own_answers();
        let newest = newest.filter_map(|answer| answer.info.as_ref().ok());
        let newest = newest.max_by_key(|info| info.revision);
        let alarms = newest.and_then(|info| info.details.as_ref());
        findings.extend(alarms.into_iter().flat_map(|d| &d.alarms).map(alarm));
        findings.extend(details.and_then(not_writable));
        let is_listed = nodes.iter().any(|node| node.is_own);
        if leader.is_some() && !is_listed {
            findings.push(Finding::new(
Kind::NoMember,
                format!(
                    "{}, whose directory this is, is no node of the cluster any more",
                    targets.own.address
                ),
                "delete the directory; with an init.yaml that names the others the node joins again",
                "Several nodes",
            ));
        }
        findings.sort_by_key(|finding| finding.kind);
        let health = match (leader, findings.is_empty()) {
            (None, _) if !expired.hides_leader => Health::NoLeader,
            (_, false) => Health::Degraded,
            (_, true) => Health::Healthy,
        };
        let mut warnings: Vec<Finding> = nodes.iter().filter_map(expires_soon).collect();
        warnings.extend(
            nodes
                .iter()
                .filter_map(|node| other_version(node, leader?.1)),
        );
        warnings.extend(on_their_way(&nodes));
        warnings.extend(details.and_then(failing_archive));
        if voters.all == 2 {
            warnings.push(two_nodes());
        }
        let first = findings.first().or(warnings.first());
        let summary = match findings.first() {
            Some(finding) => finding.text.clone(),
            None => voters.when_healthy(),
        };
        Self {
            health,
            summary,
            remedy: first.map(|finding| finding.remedy.clone()),
            section: first.map(|finding| finding.section),
            worst: findings.first().map(|finding| finding.kind),
            tolerated_failures: leader.and_then(|_| voters.tolerated_failures()),
            problems: findings.iter().map(|it| it.text.clone()).collect(),
            warnings: warnings.iter().map(|it| it.text.clone()).collect(),
            findings: (findings, warnings),
            cluster_id: cluster_id.map(|id| format!("{id:x}")),
            leader: leader.map(|(answer, info)| Leader {
                id: format!("{:x}", info.member_id),
                address: answer.address.clone(),
                term: info.view.as_ref().map_or(0, |view| view.term),
            }),
            revision,
            compact_revision: leader
                .map(|(_, info)| info.compact_revision)
                .filter(|revision| *revision > 0),
            leases: details.and_then(|details| details.leases),
            database_bytes: pages.map(|pages| pages.total_bytes()),
            database_free_bytes: pages.map(|pages| pages.total_bytes() - pages.used_bytes()),
            archive: details.and_then(archive),
            nodes,
        }
    }

    /// Returns whether writes fail because of the problem that `summary` tells.
    pub(super) fn explains_failed_writes(&self) -> bool {
        self.worst.is_some_and(|worst| match worst {
            Kind::NoLeader | Kind::Corrupt | Kind::WritesRefused | Kind::NoMember => true,
            // Without new connections there may be no leader.
            Kind::ExpiredCertificate => self.leader.is_none(),
            Kind::Ahead | Kind::OtherHistory | Kind::Unreachable | Kind::Other => false,
        })
    }
}

fn node(server: &Server, gathered: &Gathered, leader: Option<&AboutResponse>) -> NodeReport {
    let answer = gathered.answer(&server.address);
    let info = answer.and_then(|answer| answer.info.as_ref().ok());
    let error = match answer {
        Some(answer) => answer.info.as_ref().err().cloned(),
        None => Some("not asked".to_owned()),
    };
    let details: Option<&Details> = info.and_then(|info| info.details.as_ref());
    let id = info.map_or(server.id, |info| NodeId::new(info.member_id));
    let revision = info.map(|info| info.revision).filter(|r| *r > 0);
    let is_foreign = answer.is_some_and(|answer| gathered.is_foreign(answer));
    NodeReport {
        id: (!id.is_unknown()).then(|| format!("{id:x}")),
        address: server.address.clone(),
        role: server.role.name(),
        is_own: false,
        is_leader: false,
        is_reachable: info.is_some(),
        is_foreign,
        ahead: (!is_foreign)
            .then(|| revision?.checked_sub(leader?.revision))
            .flatten()
            .filter(|ahead| *ahead > 0),
        is_other_version: info
            .zip(leader)
            .is_some_and(|(info, leader)| info.version != leader.version),
        error,
        // One without details is of an older version, whose answer is all that is known.
        is_ready: info.is_some() && details.is_none_or(|details| details.is_ready),
        version: info.map(|info| info.version.clone()),
        term: info.and_then(|info| Some(info.view.as_ref()?.term)),
        revision,
        lag: revision.and_then(|own| Some((leader?.revision - own).max(0))),
        log_bytes: details.map(|details| details.log_bytes),
        snapshot_bytes: details.map(|details| details.snapshot_bytes),
        certificate_expires_s: details.and_then(|details| details.certificate_expires_s),
        certificate_days_left: None,
        certificate_step: details.and_then(|it| step_name(it.certificate_step())),
    }
}

impl NodeReport {
    fn is_voter(&self) -> bool {
        self.role == Role::Voter.name()
    }

    fn works(&self) -> bool {
        self.is_reachable && self.is_ready && !self.is_foreign
    }
}

/// A pair of the cluster that has expired: nodes refuse new connections with it, the questions of a report too.
struct Expired {
    /// The days since then.
    days: Option<i64>,
    /// True if nobody who answers leads, and nodes are there that could not be asked: one of them may lead.
    hides_leader: bool,
}

impl Expired {
    fn of(targets: &StatusTargets, gathered: &Gathered, nodes: &[NodeReport], now_s: i64) -> Self {
        let ends = nodes.iter().filter_map(|node| node.certificate_expires_s);
        let first = ends.chain(targets.certificate_expires_s).min();
        let since_s = first.map(|end_s| now_s - end_s).filter(|s| *s >= 0);
        let is_silent = |answer: &NodeAnswer| answer.info.is_err() && answer.listens;
        Self {
            days: since_s.map(|since_s| since_s / DAY_S),
            hides_leader: since_s.is_some()
                && gathered.leader().is_none()
                && gathered.answers.iter().any(is_silent),
        }
    }

    fn finding(&self) -> Option<Finding> {
        let days = self.days?;
        let unknown = match self.hides_leader {
            true => "; nodes could not be asked, so that it is not known which one leads",
            false => "",
        };
        Some(Finding::new(
            Kind::ExpiredCertificate,
            format!(
                "the certificate between the nodes has expired ({} ago): nodes that run go on with the \
                 connections that they have, and make no new ones{unknown}",
                days_of(days)
            ),
            config::REPLACE_PAIR,
            "Certificates",
        ))
    }
}

fn archive(details: &Details) -> Option<ArchiveReport> {
    let state = details.archive.as_ref()?;
    let is_failing = state.failing_since_s > 0;
    Some(ArchiveReport {
        last_revision: state.last_revision,
        behind_s: state.behind_s,
        behind_bytes: state.behind_bytes,
        failing_since_s: is_failing.then_some(state.failing_since_s),
        reason: is_failing.then(|| state.reason.clone()),
    })
}

/// Says that what is written now would be lost with the machines.
fn failing_archive(details: &Details) -> Option<Finding> {
    let ArchiveReport {
        last_revision,
        behind_s,
        reason,
        ..
    } = archive(details)?;
    let reason = reason?;
    Some(Finding::new(
        Kind::Other,
        format!(
            "the archive ends at revision {last_revision}, and lacks what was written in the last {behind_s} s: {reason}"
        ),
        "make the place of --archive reachable and writable; until then, what it lacks is lost with the machines",
        "The continuous archive",
    ))
}

fn no_leader(nodes: &[NodeReport], voters: Voters) -> Finding {
    let missing: Vec<&str> = nodes
        .iter()
        .filter(|node| node.is_voter() && !node.works())
        .map(|node| node.address.as_str())
        .collect();
    if voters.up >= voters.majority() {
        return Finding::new(
Kind::NoLeader,
            "none of the nodes that answer is the leader, although a majority of the voters works: an election is \
             under way, or the nodes do not reach each other"
                .to_owned(),
            "look again in ten seconds; if it stays so, check the network between the nodes",
            "When a majority is lost",
        );
    }
    Finding::new(
        Kind::NoLeader,
        format!(
            "none of the nodes that answer is the leader: {} of {} voters work, and writes need {}",
            voters.up,
            voters.all,
            voters.majority()
        ),
        format!(
            "start {}; if too many are lost for good, recover the cluster",
            missing.join(", ")
        ),
        "When a majority is lost",
    )
}

fn problem(node: &NodeReport, expired: &Expired) -> Option<Finding> {
    let address = &node.address;
    match &node.error {
        // That it cannot be asked follows from the expired pair.
        Some(_) if expired.hides_leader => None,
        Some(error) => Some(Finding::new(
            Kind::Unreachable,
            format!("{address} cannot be reached: {error}"),
            format!("start the node at {address}, or remove it if it is lost for good"),
            "Several nodes",
        )),
        None if node.is_foreign => Some(Finding::new(
            Kind::OtherHistory,
            format!(
                "the node at {address} belongs to another cluster: it was restored, recovered or set up anew"
            ),
            format!(
                "stop the node at {address}, and let it join this cluster with an empty directory, or remove it"
            ),
            "Two histories",
        )),
        None if !node.is_ready => Some(Finding::new(
            Kind::Other,
            format!("{address} has not received the store yet"),
            format!("wait; if it stays so, read the log of {address}"),
            "Several nodes",
        )),
        None => None,
    }
}

fn ahead(node: &NodeReport) -> Option<Finding> {
    let (address, count) = (&node.address, node.ahead?);
    Some(Finding::new(
        Kind::Ahead,
        format!(
            "{address} has {count} revisions that the leader does not have: what was acknowledged may be lost; an \
             old copy of a directory came back"
        ),
        "stop all nodes before the one that is ahead is overwritten, and recover from its directory",
        "A node is ahead of its leader",
    ))
}

fn expires_soon(node: &NodeReport) -> Option<Finding> {
    let days = node.certificate_days_left?;
    (0..CERTIFICATE_WARNING_DAYS).contains(&days).then(|| {
        Finding::new(
            Kind::Other,
            format!(
                "the certificate of {} expires in {}",
                node.address,
                days_of(days)
            ),
            config::RENEW_PAIR,
            "Certificates",
        )
    })
}

fn step_name(step: CertificateStep) -> Option<&'static str> {
    match step {
        CertificateStep::Trust => Some(TRUSTS),
        CertificateStep::Use => Some(USES),
        _ => None,
    }
}

/// Names a replacement of the pair that is under way, or was interrupted.
fn on_their_way(nodes: &[NodeReport]) -> Option<Finding> {
    let at = |step| -> Vec<&str> {
        let nodes = nodes.iter().filter(|it| it.certificate_step == Some(step));
        nodes.map(|it| it.address.as_str()).collect()
    };
    let (trust, in_use) = (at(TRUSTS), at(USES));
    let holder = in_use.first().or(trust.first())?;
    let named = [("trusted at", &trust), ("in use at", &in_use)];
    let named = named.iter().filter(|(_, nodes)| !nodes.is_empty());
    let named: Vec<_> = named
        .map(|(what, nodes)| format!("{what} {}", nodes.join(", ")))
        .collect();
    let back = match in_use.is_empty() {
        true => ", or, to go back, with --cancel",
        false => "",
    };
    Some(Finding::new(
        Kind::Other,
        format!(
            "the pair of the nodes is being replaced: the new one is {}",
            named.join(", and ")
        ),
        format!("if that does not end by itself, run `k8s-dqlite certs rotate` on {holder}{back}"),
        "Certificates",
    ))
}

fn days_of(count: i64) -> String {
    match count {
        1 => "1 day".to_owned(),
        count => format!("{count} days"),
    }
}

fn other_version(node: &NodeReport, leader: &AboutResponse) -> Option<Finding> {
    let version = node.version.as_ref().filter(|_| node.is_other_version)?;
    Some(Finding::new(
        Kind::Other,
        format!(
            "{} runs version {version}, the leader {}",
            node.address, leader.version
        ),
        "finish the upgrade: all nodes should run the same version",
        "Upgrade",
    ))
}

fn two_nodes() -> Finding {
    Finding::new(
        Kind::Other,
        "a cluster of two nodes tolerates no failure: if either fails, writes stop".to_owned(),
        "add a third node",
        "Several nodes",
    )
}

fn alarm(alarm: &AlarmMember) -> Finding {
    let kind = alarm.alarm();
    let text = format!(
        "the alarm {} is raised by node {:x}",
        kind.as_str_name(),
        alarm.member_id
    );
    match kind {
        AlarmType::Corrupt => Finding::new(
            Kind::Corrupt,
            text,
            "write nothing, and compare the nodes: etcdctl endpoint hashkv --cluster --rev REVISION; re-seed the one \
             that differs, or restore a backup, before you disarm it",
            "When the alarm CORRUPT is raised",
        ),
        AlarmType::Nospace | AlarmType::None => Finding::new(
            Kind::WritesRefused,
            text,
            "make space, then disarm it: etcdctl alarm disarm",
            "When the quota is reached",
        ),
    }
}

pub(super) fn not_writable(details: &Details) -> Option<Finding> {
    let reason = details.write_refused.as_deref()?;
    let no_space = RequestError::NoSpace.to_string();
    let is_raised = |kind: AlarmType| details.alarms.iter().any(|alarm| alarm.alarm() == kind);
    let is_told = is_raised(AlarmType::Nospace) && reason == no_space
        || is_raised(AlarmType::Corrupt) && reason == RequestError::Corrupt.to_string();
    if is_told {
        return None;
    }
    let text = format!("the leader does not take writes: {reason}");
    Some(if reason == DISK_IS_LOW || reason == no_space {
        Finding::new(
            Kind::WritesRefused,
            text,
            "make space on its disk, or below the quota",
            "Disk space",
        )
    } else {
        Finding::new(
            Kind::WritesRefused,
            text,
            "look again in ten seconds; if it stays so, look at the leader's log, its disk, and the network between \
             the nodes",
            "Slow requests",
        )
    })
}
