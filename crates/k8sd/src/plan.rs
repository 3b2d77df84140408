//! Finds what is wrong with a cluster, and what may be done about it. Pure.
//!
//! A member is in three places: its row, dqlite's servers, the truststores. The rows decide who is trusted. A node is
//! let in by a row before dqlite gets a server, and goes by an entry in the journal; so an entry that is in one place
//! alone for longer than a join takes belongs to nobody.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use dqlite::wire::{NodeId, Role, Server};

use crate::api::{ClusterMember, PENDING};

/// The age in seconds at which a member's stored heartbeat is renewed: each renewal is a write to all disks.
const HEARTBEAT_NOTED_S: i64 = 30;

/// The database's records of the cluster, at one moment.
#[derive(Debug, Default)]
pub struct Records {
    pub members: Vec<Record>,
    pub removals: Vec<Removal>,
    pub has_expired_tokens: bool,
}

#[derive(Debug, Clone)]
pub struct Record {
    pub member: ClusterMember,
    /// The time at which the role was noted last; for a pending member, the time at which it was let in.
    pub heartbeat_s: i64,
}

/// The ages at which the reconciler acts.
#[derive(Debug, Clone, Copy)]
pub struct GracePeriods {
    /// A pending member of this age is removed.
    pub pending: Duration,
    /// An entry that belongs to nobody, or is half done, may still be somebody's work until it has this age.
    pub ghost: Duration,
    /// A removal of this age is carried on by the leader.
    pub removal: Duration,
}

/// A removal that is not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    pub name: String,
    pub address: String,
    /// Its id in dqlite's cluster, if it had one.
    pub server: Option<NodeId>,
    /// The removal goes on even if the datastore cannot be changed.
    pub force: bool,
    /// Tells two removals of one name apart.
    pub nonce: String,
    pub started_s: i64,
}

impl Removal {
    /// Returns whether member and server are gone, so that only the node itself has to be told.
    pub fn is_effective(&self, servers: &[Server], records: &Records) -> bool {
        let mut members = records.members.iter();
        members.all(|record| record.member.name != self.name)
            && servers.iter().all(|s| Some(s.id) != self.server)
    }
}

/// A row's new role and time.
#[derive(Debug, PartialEq, Eq)]
pub struct Note {
    pub name: String,
    pub role: String,
    pub heartbeat_s: i64,
    /// The time that the row had: it is noted only if that is still so.
    pub before_s: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repair {
    /// Remove the row, the server and the trust.
    Remove {
        name: String,
        only_pending: bool,
    },
    /// Remove dqlite's server.
    RemoveServer(NodeId),
    Finish(Removal),
    /// Write the truststore from the rows.
    Trust,
}

/// The time at which a finding may be repaired, and by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// The leader repairs it by itself.
    Now,
    /// `cluster check --repair` repairs it.
    Asked,
    /// Nobody may repair it yet.
    Later,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    pub text: String,
    pub repair: Option<Repair>,
    pub due: Due,
}

/// The time since which each entry is unchanged, by the clock of this process, because the clocks of nodes differ.
#[derive(Debug, Default)]
pub struct Memory {
    since: BTreeMap<String, Instant>,
}

impl Memory {
    /// Notes what is there now and forgets what is gone. `servers` are not older than the records.
    pub fn note(&mut self, servers: &[Server], records: &Records, now: Instant) {
        let before = std::mem::take(&mut self.since);
        let pending = records.members.iter().filter(|m| is_pending(m));
        let keys = strangers(servers, records)
            .map(|server| server_key(server.id))
            .chain(pending.map(pending_key))
            .chain(bare(servers, records).map(bare_key))
            .chain(records.removals.iter().map(removal_key));
        self.since = keys
            .map(|key| {
                let since = before.get(&key).copied().unwrap_or(now);
                (key, since)
            })
            .collect();
    }

    fn age(&self, key: &str, now: Instant) -> Duration {
        let since = self.since.get(key);
        since.map_or(Duration::ZERO, |since| {
            now.saturating_duration_since(*since)
        })
    }

    /// Returns the removals that no node seems to be carrying out.
    pub fn left<'a>(
        &self,
        removals: &'a [Removal],
        grace_periods: GracePeriods,
        now: Instant,
    ) -> impl Iterator<Item = &'a Removal> {
        let age = move |removal: &&Removal| self.age(&removal_key(removal), now);
        removals
            .iter()
            .filter(move |r| age(r) >= grace_periods.removal)
    }
}

fn is_pending(record: &Record) -> bool {
    record.member.role == PENDING
}

fn is_going(name: &str, records: &Records) -> bool {
    records.removals.iter().any(|removal| removal.name == name)
}

/// Returns the servers that belong to no member.
fn strangers<'a>(servers: &'a [Server], records: &'a Records) -> impl Iterator<Item = &'a Server> {
    servers.iter().filter(|server| {
        let mut members = records.members.iter();
        let mut removals = records.removals.iter();
        members.all(|record| record.member.address != server.address)
            && removals.all(|removal| removal.server != Some(server.id))
    })
}

/// Returns the members that have no server and are not pending.
fn bare<'a>(servers: &'a [Server], records: &'a Records) -> impl Iterator<Item = &'a Record> {
    records.members.iter().filter(|record| {
        !is_pending(record)
            && !is_going(&record.member.name, records)
            && server_of(record, servers).is_none()
    })
}

fn server_of<'a>(record: &Record, servers: &'a [Server]) -> Option<&'a Server> {
    let address = &record.member.address;
    servers.iter().find(|server| server.address == *address)
}

fn server_key(id: NodeId) -> String {
    format!("server {id:x}")
}

fn pending_key(record: &Record) -> String {
    format!("pending {} {}", record.member.name, record.heartbeat_s)
}

fn bare_key(record: &Record) -> String {
    format!("bare {}", record.member.name)
}

fn removal_key(removal: &Removal) -> String {
    format!("removal {}", removal.nonce)
}

/// Returns what the leader writes down after a round: roles when they change, and from time to time heartbeats.
/// `answered` are the members that answered the leader's heartbeat; a pending one of them is pending no more.
pub fn notes(
    servers: &[Server],
    records: &Records,
    answered: &BTreeSet<String>,
    now_s: i64,
) -> Vec<Note> {
    let mut notes = Vec::new();
    for record in &records.members {
        let member = &record.member;
        let has_answered = answered.contains(&member.name);
        let role = match server_of(record, servers) {
            Some(server) if !is_pending(record) || has_answered => server.role.name(),
            None if !is_pending(record) => "",
            _ => continue,
        };
        let is_old = (now_s - record.heartbeat_s).abs() >= HEARTBEAT_NOTED_S;
        if role != member.role || (has_answered && is_old) {
            notes.push(Note {
                name: member.name.clone(),
                role: role.to_owned(),
                heartbeat_s: if has_answered {
                    now_s
                } else {
                    record.heartbeat_s
                },
                before_s: record.heartbeat_s,
            });
        }
    }
    notes
}

/// Returns everything that is wrong. `own_id`: the id of this node in dqlite, which never removes itself.
pub fn findings(
    servers: &[Server],
    records: &Records,
    trusted: &[String],
    memory: &Memory,
    grace_periods: GracePeriods,
    own_id: NodeId,
    (now, now_s): (Instant, i64),
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let due = |is_due: bool, due: Due| if is_due { due } else { Due::Later };
    for removal in &records.removals {
        if !removal.is_effective(servers, records) {
            let age = memory.age(&removal_key(removal), now);
            findings.push(Finding {
                text: format!("the removal of {} is not finished", removal.name),
                repair: Some(Repair::Finish(removal.clone())),
                due: due(age >= grace_periods.removal, Due::Now),
            });
        }
    }
    for server in strangers(servers, records) {
        let is_due = memory.age(&server_key(server.id), now) >= grace_periods.ghost;
        // Rows that were lost must not take the votes of those that hold the data with them.
        let whose = match server.role {
            Role::Voter => Due::Asked,
            _ => Due::Now,
        };
        findings.push(Finding {
            text: format!(
                "dqlite's server {:x} at {} belongs to no member",
                server.id, server.address
            ),
            repair: (server.id != own_id).then_some(Repair::RemoveServer(server.id)),
            due: due(is_due, whose),
        });
    }
    for record in bare(servers, records) {
        let name = record.member.name.clone();
        let is_due = memory.age(&bare_key(record), now) >= grace_periods.ghost;
        findings.push(Finding {
            text: format!("the member {name} has no server in dqlite"),
            repair: Some(Repair::Remove {
                name,
                only_pending: false,
            }),
            due: due(is_due, Due::Asked),
        });
    }
    for record in &records.members {
        let name = record.member.name.clone();
        if !is_pending(record) || is_going(&name, records) {
            continue;
        }
        let seen = memory.age(&pending_key(record), now);
        let since_s = now_s - record.heartbeat_s;
        // By the clock of whoever let it in, and not before a join can be over by ours.
        let is_old =
            since_s >= grace_periods.pending.as_secs().cast_signed() && seen >= grace_periods.ghost;
        findings.push(Finding {
            text: format!("the member {name} was let in, and has not shown up since"),
            repair: Some(Repair::Remove {
                name,
                only_pending: true,
            }),
            due: due(is_old || seen >= grace_periods.pending, Due::Now),
        });
    }
    for name in trusted {
        let mut members = records.members.iter();
        if members.all(|record| record.member.name != *name) {
            findings.push(Finding {
                text: format!("{name} is trusted, but is not a member"),
                repair: Some(Repair::Trust),
                due: Due::Now,
            });
        }
    }
    findings
}

#[cfg(test)]
mod tests;
