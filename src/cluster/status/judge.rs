//! The judgement of a cluster, and of one node of it: what `status`, the status page and `/readyz` say in words. Pure.
//!
//! Invariant: whoever shows the state of a cluster shows what is decided here, so that no two of them contradict each
//! other.

use serde::Serialize;

use super::Report;

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

/// The subject of a finding, the worst first: of several findings the summary is the first one by this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    NoLeader,
    /// A node is ahead of its leader: data is lost once it is overwritten.
    Ahead,
    /// A node is of another cluster.
    OtherHistory,
    Corrupt,
    /// The alarm NOSPACE, or a leader that does not take writes.
    WritesRefused,
    ExpiredCertificate,
    Unreachable,
    /// The node that reports is no node of the cluster any more.
    NoMember,
    Other,
}

/// A finding: what is wrong, what to do about it, and the section of docs/operations.md that says more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    #[serde(skip)]
    pub kind: Kind,
    pub text: String,
    pub remedy: String,
    pub section: &'static str,
}

impl Finding {
    pub fn new(kind: Kind, text: String, remedy: impl Into<String>, section: &'static str) -> Self {
        let remedy = remedy.into();
        Self {
            kind,
            text,
            remedy,
            section,
        }
    }
}

/// The voters of a cluster, and those of them that answer and have the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Voters {
    pub all: usize,
    pub up: usize,
}

impl Voters {
    pub fn majority(self) -> usize {
        self.all / 2 + 1
    }

    /// Returns how many more voters may fail before writes stop; none if too many have already.
    pub fn tolerated_failures(self) -> Option<usize> {
        self.up.checked_sub(self.majority())
    }

    /// Returns the state where nothing is wrong, in one sentence.
    pub fn when_healthy(self) -> String {
        match (self.all, self.tolerated_failures().unwrap_or(0)) {
            (0 | 1, _) => "the one node works; without it nothing does".to_owned(),
            (2, _) => {
                "both nodes work, and both are needed: if either fails, writes stop".to_owned()
            }
            (all, tolerated) => format!("all {all} voters work, and {tolerated} of them may fail"),
        }
    }
}

/// Returns a count of further failures in words.
pub fn failures(tolerated: usize) -> String {
    match tolerated {
        0 => "no failure".to_owned(),
        1 => "1 more failure".to_owned(),
        count => format!("{count} more failures"),
    }
}

/// The state of one node of a cluster, as it shows itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeState {
    Starting,
    NoLeader,
    /// Writes through this node do not succeed.
    NotReady,
    Degraded,
    Healthy,
}

/// The verdict on a node and its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub state: NodeState,
    /// One sentence.
    pub summary: String,
    pub remedy: Option<String>,
    /// The section of docs/operations.md.
    pub section: Option<&'static str>,
}

/// Judges a node. `failed` is the first check of its readiness that failed, in words; `report` is none before any node
/// has answered.
pub fn judge(report: Option<&Report>, is_loaded: bool, failed: Option<&str>) -> Verdict {
    let of_cluster = |state, report: &Report| Verdict {
        state,
        summary: report.summary.clone(),
        remedy: report.remedy.clone(),
        section: report.section,
    };
    match (report, failed) {
        _ if !is_loaded => Verdict {
            state: NodeState::Starting,
            summary: "this node has not loaded the store yet".to_owned(),
            remedy: Some("wait; if it stays so, read its log".to_owned()),
            section: Some("When it does not start"),
        },
        (Some(report), Some(_)) if report.health == Health::NoLeader => {
            of_cluster(NodeState::NoLeader, report)
        }
        (Some(report), Some(_)) if report.explains_failed_writes() => {
            of_cluster(NodeState::NotReady, report)
        }
        // It is worse than the failed check, and no cause of it.
        (Some(report), Some(failed))
            if matches!(report.worst, Some(Kind::Ahead | Kind::OtherHistory)) =>
        {
            Verdict {
                summary: format!("{}; and {}", report.summary, not_writable(failed)),
                ..of_cluster(NodeState::NotReady, report)
            }
        }
        (_, Some(failed)) => Verdict {
            state: NodeState::NotReady,
            summary: not_writable(failed),
            remedy: Some("see what the failed check names".to_owned()),
            section: Some("Health"),
        },
        (Some(report), None) => match report.health {
            Health::Healthy => of_cluster(NodeState::Healthy, report),
            // A node that takes writes is led, whoever could be asked.
            Health::NoLeader | Health::Degraded => of_cluster(NodeState::Degraded, report),
        },
        (None, None) => Verdict {
            state: NodeState::Healthy,
            summary: "writes through this node succeed; other nodes were not asked yet".to_owned(),
            remedy: None,
            section: None,
        },
    }
}

fn not_writable(failed: &str) -> String {
    format!("a write through this node does not succeed: {failed}")
}
