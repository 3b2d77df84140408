//! Asks whether the other nodes remember more of this node's log than it has.
//!
//! A log with fewer entries than were acknowledged, such as an older copy of the directory with its mark, looks
//! whole. With its vote a leader could be elected that lacks committed entries; so the others are asked before the
//! engine starts. Where nobody remembers, because all were down or are of an earlier version, the mark has decided.

use std::{path::Path, time::Duration};

use dqlite::{
    files::Identity,
    log::Report,
    node::{LastEntry, NodeError},
};
use peer_proto::{LogEnd, RememberedResponse};
use tokio::{task::JoinSet, time::timeout};

use crate::cluster::peer::{Dialer, Found, has_lost};

/// The longest that a start waits for the others. A node that does not run refuses at once; a
/// machine that is off takes all of it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Asks all nodes that this directory knows, stand-bys too.
///
/// # Errors
///
/// [`NodeError::Damaged`] where one of them remembers an entry that is not in the log.
pub async fn check(
    dir: &Path,
    identity: &Identity,
    report: &Report,
    dialer: &Dialer,
) -> Result<(), NodeError> {
    if identity.is_joining || identity.bootstrap {
        return Ok(());
    }
    let found = Found {
        term: report.term,
        last: LastEntry {
            term: report.last_term,
            index: report.last_index,
        },
    };
    let mut asking = JoinSet::new();
    for address in others(identity, report) {
        let (dialer, own_id) = (dialer.clone(), identity.id);
        asking.spawn(async move {
            let answer = timeout(ANSWER_TIMEOUT, dialer.remembered(&address, own_id)).await;
            (address, answer.ok().flatten())
        });
    }
    while let Some(answered) = asking.join_next().await {
        let (address, answer) = answered.expect("asking does not panic");
        if let Some(reason) = answer.and_then(|answer| lost(found, &address, &answer)) {
            return Err(NodeError::Damaged {
                dir: dir.to_owned(),
                reason,
            });
        }
    }
    Ok(())
}

/// The addresses of the other nodes, those of the log and those of cluster.yaml: either may be the older.
fn others(identity: &Identity, report: &Report) -> Vec<String> {
    let of_log = report.configuration.iter().flat_map(|found| &found.servers);
    let others = of_log
        .chain(&identity.cluster)
        .filter(|server| server.id != identity.id && server.address != identity.address);
    let mut addresses: Vec<_> = others.map(|server| server.address.clone()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Returns in words what is missing; none if nothing is.
fn lost(found: Found, address: &str, answer: &RememberedResponse) -> Option<String> {
    let LogEnd {
        member_id,
        term,
        index,
    } = answer.log_end?;
    let remembered = LastEntry { term, index };
    let Found { last, .. } = found;
    has_lost(found, remembered).then(|| {
        format!(
            "its log ends at entry {} of term {}, but the node {:x} at {address} knows that this node, {member_id:x}, \
             had stored entry {index} of term {term}; the directory is an older copy, or the disk has lost entries, and with this node's vote the cluster could lose them, too",
            last.index, last.term, answer.member_id
        )
    })
}

#[cfg(test)]
mod tests {
    use dqlite::{
        log::Configuration,
        wire::{NodeId, Role, Server},
    };

    use super::*;

    fn server(id: u64, address: &str) -> Server {
        Server {
            id: NodeId::new(id),
            address: address.to_owned(),
            role: Role::Voter,
        }
    }

    fn identity(cluster: Vec<Server>) -> Identity {
        Identity {
            id: NodeId::new(1),
            address: "a:1".to_owned(),
            cluster,
            is_joining: false,
            bootstrap: false,
        }
    }

    fn report(servers: Vec<Server>) -> Report {
        Report {
            term: 3,
            voted_for: NodeId::UNKNOWN,
            snapshot: None,
            first_index: 1,
            last_index: 90,
            last_term: 3,
            configuration: Some(Configuration { index: 1, servers }),
            closed: Vec::new(),
            open: Vec::new(),
            remnants: Vec::new(),
            first_start_fails: false,
            bytes_read: 0,
        }
    }

    #[test]
    fn all_others_are_asked_once() {
        let log = report(vec![server(1, "a:1"), server(2, "b:1"), server(3, "c:1")]);
        // As before this node had another address, and with a node that came later.
        let own = identity(vec![server(1, "z:1"), server(3, "c:1"), server(4, "d:1")]);
        assert_eq!(others(&own, &log), ["b:1", "c:1", "d:1"]);
        assert!(others(&identity(Vec::new()), &report(vec![server(1, "a:1")])).is_empty());
    }

    #[test]
    fn what_is_missing_is_named() {
        let found = Found {
            term: 3,
            last: LastEntry { term: 3, index: 90 },
        };
        let answer = |index| RememberedResponse {
            member_id: 0xb,
            log_end: Some(LogEnd {
                member_id: 1,
                term: 3,
                index,
            }),
        };
        assert_eq!(lost(found, "b:1", &answer(90)), None);
        assert_eq!(lost(found, "b:1", &RememberedResponse::default()), None);
        let reason = lost(found, "b:1", &answer(120)).unwrap();
        for part in ["entry 90", "the node b at b:1", "entry 120 of term 3"] {
            assert!(reason.contains(part), "{reason}");
        }
    }
}
