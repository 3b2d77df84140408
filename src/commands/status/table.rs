//! The report for people.

use std::fmt;

use jiff::Timestamp;
use tables::bytes;

use crate::cluster::status::{Health, NodeReport, Report, failures};

const HEADINGS: [&str; 9] = [
    "NODE",
    "ADDRESS",
    "ROLE",
    "STATE",
    "REVISION",
    "LAG",
    "LOG",
    "SNAPSHOTS",
    "CERTIFICATE",
];

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_pair = self.nodes.iter().filter(|it| it.role == "voter").count() == 2;
        let health = match self.health {
            Health::Healthy if is_pair => "healthy while both nodes run",
            Health::Healthy => "healthy",
            Health::Degraded => "degraded",
            Health::NoLeader => "NO LEADER",
        };
        writeln!(f, "Cluster    {health}")?;
        if let Some(id) = &self.cluster_id {
            writeln!(f, "Cluster ID {id}")?;
        }
        if let Some(leader) = &self.leader {
            let (address, id, term) = (&leader.address, &leader.id, leader.term);
            writeln!(f, "Leader     {address} (node {id}, term {term})")?;
        }
        if let (Some(revision), Some(compacted)) = (self.revision, self.compact_revision) {
            writeln!(f, "Revision   {revision}, compacted at {compacted}")?;
        } else if let Some(revision) = self.revision {
            writeln!(f, "Revision   {revision}, not compacted yet")?;
        }
        if let Some(leases) = self.leases {
            writeln!(f, "Leases     {leases}")?;
        }
        if let (Some(total), Some(free)) = (self.database_bytes, self.database_free_bytes) {
            writeln!(f, "Database   {}, {} of it free", bytes(total), bytes(free))?;
        }
        if let Some(tolerated) = self.tolerated_failures {
            writeln!(f, "Tolerates  {}", failures(tolerated))?;
        }
        if self.health != Health::Healthy || self.remedy.is_some() {
            writeln!(f, "Summary    {}", self.summary)?;
        }
        if let (Some(remedy), Some(section)) = (&self.remedy, self.section) {
            writeln!(f, "What to do {remedy} (docs/operations.md, \"{section}\")")?;
        }
        writeln!(f)?;
        let rows = self.nodes.iter().map(|node| row(node).to_vec());
        f.write_str(&tables::columns(&HEADINGS, rows))?;
        for (title, texts) in [("Problems", &self.problems), ("Warnings", &self.warnings)] {
            if !texts.is_empty() {
                writeln!(f, "\n{title}")?;
            }
            for text in texts {
                writeln!(f, "  {text}")?;
            }
        }
        Ok(())
    }
}

fn row(node: &NodeReport) -> [String; HEADINGS.len()] {
    let state = match (node.is_reachable, node.is_ready, node.is_leader) {
        (false, ..) => "unreachable",
        _ if node.is_foreign => "foreign",
        (true, false, _) => "loading",
        (true, true, true) => "leader",
        _ if node.ahead.is_some() => "AHEAD",
        _ if node.is_other_version => "other version",
        (true, true, false) => "follower",
    };
    let known = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let own = if node.is_own { " *" } else { "" };
    [
        known(node.id.clone()) + own,
        node.address.clone(),
        node.role.to_owned(),
        state.to_owned(),
        known(node.revision.map(|n| n.to_string())),
        known(node.lag.map(|n| n.to_string())),
        known(node.log_bytes.map(bytes)),
        known(node.snapshot_bytes.map(bytes)),
        known(
            node.certificate_expires_s
                .and_then(|at_s| ends(at_s, node.certificate_days_left)),
        ),
    ]
}

fn ends(at_s: i64, days_left: Option<i64>) -> Option<String> {
    let day = Timestamp::from_second(at_s).ok()?.strftime("%Y-%m-%d");
    Some(match days_left? {
        ..0 => format!("{day}, expired"),
        0 => format!("{day}, within a day"),
        1 => format!("{day}, in 1 day"),
        days => format!("{day}, in {days} days"),
    })
}
