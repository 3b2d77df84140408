//! The cluster has moved to other addresses, all members at once: each gets them in its own state directory, with the same
//! list.
//!
//! Nothing is recovered: no member is left out, and the cluster and its history stay. Invariants: the database is changed on a
//! copy, and what it was before stays, byte by byte; the rows are changed by the next daemon that opens the database, and
//! only where they still have the old address, so that it does not matter how often, or on how many members, that is done.

use std::{collections::BTreeMap, fmt::Write, net::SocketAddr, path::PathBuf, str::FromStr};

use dqlite::{
    cluster::listening,
    files::{read_cluster, read_info, write_cluster, write_info},
    log::{AddressChanges, AddressFault},
    node::{DirLock, change_addresses, read_log},
    wire::{NodeId, Role, Server},
};

use super::{WORK, swap};
use crate::{
    Error, copy,
    database::MEMBER,
    datastore::check_address,
    offline::{Offline, refuse_running},
    schema,
    state::{DaemonFile, StateDir, read},
    trust::{TrustEntry, Truststore},
};

/// The old and the new address of a member, or of its datastore server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    pub old: String,
    pub new: String,
}

impl FromStr for Moved {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (old, new) = text.split_once('=').ok_or("must be OLD=NEW")?;
        for address in [old, new] {
            check_address(address).map_err(|error| error.to_string())?;
        }
        Ok(Self {
            old: old.to_owned(),
            new: new.to_owned(),
        })
    }
}

pub struct WantedAddresses<'a> {
    pub state: &'a StateDir,
    /// Those of all members, and of all datastore servers.
    pub moved: &'a [Moved],
    /// False if it is only said what would be done.
    pub is_wanted: bool,
    pub leaves_others_running: bool,
}

/// The addresses that there are, and the changes of them.
struct Plan {
    members: AddressChanges,
    servers: AddressChanges,
    trusted: Vec<TrustEntry>,
    /// Addresses of datastore servers, by the names of their members.
    datastore: BTreeMap<String, String>,
}

/// Returns what is to be printed. `now_s`, seconds since 1970, is for the name of the backup. Blocks.
pub async fn change(wanted: &WantedAddresses<'_>, now_s: i64) -> Result<String, Error> {
    let state = wanted.state;
    let own = state.read_member()?;
    refuse_running(state).await?;
    let plan = Plan::new(state, wanted.moved).await?;
    let table = plan.table();
    if !wanted.leaves_others_running {
        refuse_live(wanted.moved, &own).await?;
    }
    if !wanted.is_wanted {
        return Ok(format!(
            "{table}\nNothing is changed yet. With --yes, {} gets these addresses. Run it with the same list on each member, \
             while k8sd is stopped on all of them.\n",
            state.root().display()
        ));
    }
    let backup = change_database(state, &plan.members, now_s)?;
    write_files(state, &own, &plan)?;
    let kept = backup.map_or(String::new(), |backup| {
        format!(" The database as it was is in {}.", backup.display())
    });
    Ok(format!(
        "{table}\nDone: this member is at {}.{kept}\nRun the same command on each other member, and start k8sd only then. The \
         datastore has a cluster of its own: `k8s-dqlite recover --addresses` is for that.\n",
        moved(&plan.members, &own.address)
    ))
}

impl Plan {
    async fn new(state: &StateDir, wanted: &[Moved]) -> Result<Self, Error> {
        let trusted = Truststore::load(state)?.entries();
        let datastore = datastore_addresses(state).await?;
        let is_member = |it: &&Moved| {
            let mut trusted = trusted.iter();
            trusted.any(|entry| [&it.old, &it.new].contains(&&entry.address))
        };
        let (members, servers): (Vec<&Moved>, Vec<&Moved>) = wanted.iter().partition(is_member);
        for Moved { new, .. } in &members {
            if new.parse::<SocketAddr>().is_err() {
                return Err(Error::Invalid(format!(
                    "{new}: the address of a member is ip:port"
                )));
            }
        }
        let known = trusted.iter().map(|entry| &entry.address);
        Ok(Self {
            members: changes(&members, known)?,
            servers: changes(&servers, datastore.values())?,
            trusted,
            datastore,
        })
    }

    fn table(&self) -> String {
        let mut text = String::new();
        for entry in &self.trusted {
            let new = moved(&self.members, &entry.address);
            let _ = writeln!(text, "{}: {} -> {new}", entry.name, entry.address);
        }
        for (name, address) in &self.datastore {
            let new = moved(&self.servers, address);
            let _ = writeln!(text, "the datastore of {name}: {address} -> {new}");
        }
        text
    }

    /// Returns what the next daemon runs. A line of an earlier run that begins at the same address would win, and goes.
    fn patch(&self, found: &str) -> String {
        let members = self.trusted.iter().map(|entry| {
            let (name, old) = (&entry.name, self.members.old_of(&entry.address));
            schema::move_member_from(name, old, &moved(&self.members, old))
        });
        let servers = self.datastore.iter().map(|(name, address)| {
            let old = self.servers.old_of(address);
            schema::move_datastore_from(&format!("{MEMBER}{name}"), old, &moved(&self.servers, old))
        });
        let lines: Vec<String> = members.chain(servers).collect();
        let is_kept = |earlier: &&str| lines.iter().all(|line| rows(line) != rows(earlier));
        let kept = found.lines().filter(is_kept);
        let mut patch = String::new();
        for line in kept.chain(lines.iter().map(String::as_str)) {
            let _ = writeln!(patch, "{line}");
        }
        patch
    }
}

/// Returns the table and the condition of a line of the patch: which rows it changes, if they still have the old address.
fn rows(line: &str) -> Option<(&str, &str)> {
    let (table, change) = line.split_once(" SET ")?;
    Some((table, change.split_once(" WHERE ")?.1))
}

/// Fails unless each of these addresses has its new one, and there are no others.
fn changes<'a>(
    wanted: &[&Moved],
    known: impl Iterator<Item = &'a String>,
) -> Result<AddressChanges, Error> {
    let servers: Vec<Server> = known.map(|address| server(address)).collect();
    let pairs = wanted.iter().map(|it| (it.old.clone(), it.new.clone()));
    let checked = AddressChanges::new(pairs.collect())
        .and_then(|changes| changes.check(&servers).map(|()| changes));
    checked.map_err(|fault| match fault {
        AddressFault::Missing(address) => Error::Invalid(format!(
            "the new address of {address} is missing: write {address}=NEW, or {address}={address} if it stays"
        )),
        AddressFault::Unknown(address) => Error::Invalid(format!(
            "no member and no datastore server has the address {address}, or the one that is to take its place; if the list is \
             right for the other members, this one has missed a change: let it join them anew"
        )),
        fault => Error::Invalid(fault.to_string()),
    })
}

fn server(address: &str) -> Server {
    Server {
        id: NodeId::new(0),
        address: address.to_owned(),
        role: Role::Voter,
    }
}

fn moved(changes: &AddressChanges, address: &str) -> String {
    changes.new_of(address).to_owned()
}

/// Reads the rows of the database, from a copy.
async fn datastore_addresses(state: &StateDir) -> Result<BTreeMap<String, String>, Error> {
    let offline = Offline::open(state).await?;
    let addresses = offline.datastore_addresses().await;
    // It blocks until the engine has stopped.
    let dropped = tokio::task::spawn_blocking(move || drop(offline));
    dropped.await.expect("dropping does not panic");
    addresses
}

/// Refuses while somebody accepts a connection at an old address, who may be part of the cluster that moves.
async fn refuse_live(wanted: &[Moved], own: &DaemonFile) -> Result<(), Error> {
    let olds = wanted.iter().map(|it| it.old.clone());
    let live = listening(olds.filter(|old| *old != own.address)).await;
    match live.is_empty() {
        true => Ok(()),
        false => Err(Error::Conflict(format!(
            "others still run, or something does at their old addresses: {}. Stop k8sd and k8s-dqlite on all nodes first, and \
             start them only when all have their new addresses. If nothing of this cluster is there, add \
             --force=leave-others-running",
            live.join(", ")
        ))),
    }
}

/// Puts a copy with the new addresses in the place of the database. None if it has them.
fn change_database(
    state: &StateDir,
    changes: &AddressChanges,
    now_s: i64,
) -> Result<Option<PathBuf>, Error> {
    let database = state.database();
    let damaged = |reason: &str| Error::Damaged {
        path: database.clone(),
        reason: reason.to_owned(),
    };
    let original = DirLock::acquire_unchanged(&database)?;
    let own = read_info(&database)?.ok_or_else(|| damaged("has no info.yaml"))?;
    let cluster = read_cluster(&database)?;
    let report = read_log(&original, own.id)?;
    let servers = report.configuration.map(|it| it.servers);
    let servers = servers.or(cluster.clone()).unwrap_or_default();
    if changes.applied(&servers).is_none() && changes.new_of(&own.address) == own.address {
        return Ok(None);
    }
    let work = state.root().join(WORK);
    copy::fresh_dir(&work)?;
    copy::copy(&database, &work)?;
    {
        let lock = DirLock::acquire(&work)?;
        change_addresses(&lock, changes)?;
        if let Some(cluster) = cluster {
            write_cluster(&work, &changes.applied(&cluster).unwrap_or(cluster))?;
        }
        let address = moved(changes, &own.address);
        write_info(&work, &Server { address, ..own })?;
    }
    swap::swap(state, &work, now_s).map(Some)
}

fn write_files(state: &StateDir, own: &DaemonFile, plan: &Plan) -> Result<(), Error> {
    let trust = Truststore::load(state)?;
    let entries = plan.trusted.iter().map(|entry| TrustEntry {
        address: moved(&plan.members, &entry.address),
        ..entry.clone()
    });
    state.write_patch(&plan.patch(&read(&state.patch())?.unwrap_or_default()))?;
    trust.replace(entries.collect())?;
    state.move_daemon(&moved(&plan.members, &own.address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, address: &str) -> TrustEntry {
        TrustEntry {
            name: name.to_owned(),
            address: address.to_owned(),
            certificate: String::new(),
        }
    }

    #[test]
    fn rows_are_changed_once_however_often_it_is_run() {
        let wanted: Moved = "10.0.0.1:6400=10.9.0.1:6400".parse().unwrap();
        let server: Moved = "node1.old:29001=10.9.0.1:29001".parse().unwrap();
        let plan = |address: &str| Plan {
            members: changes(&[&wanted], [&address.to_owned()].into_iter()).unwrap(),
            servers: changes(&[&server], [&server.old].into_iter()).unwrap(),
            trusted: vec![entry("node1", address)],
            datastore: BTreeMap::from([("node1".to_owned(), server.old.clone())]),
        };
        let first = plan(&wanted.old).patch("");
        assert_eq!(first.lines().count(), 2, "{first}");
        assert!(first.contains("10.9.0.1:6400") && first.contains("node1.old:29001"));
        // The truststore has the new one already.
        assert_eq!(plan(&wanted.new).patch(&first), first);
    }

    #[test]
    fn a_wrong_address_is_corrected_before_the_first_start() {
        let wanted: Moved = "10.0.0.1:6400=10.9.0.1:6400".parse().unwrap();
        let plan = |server: &str, address: &str| {
            let server: Moved = server.parse().unwrap();
            Plan {
                members: changes(&[&wanted], [&address.to_owned()].into_iter()).unwrap(),
                servers: changes(&[&server], [&server.old].into_iter()).unwrap(),
                trusted: vec![entry("node1", address)],
                datastore: BTreeMap::from([("node1".to_owned(), server.old.clone())]),
            }
        };
        let own = "-- by hand\nUPDATE t SET a = 1 WHERE b = 2;\n";
        let wrong = plan("10.0.0.1:29001=10.9.0.7:29001", &wanted.old).patch(own);
        assert!(wrong.contains("10.9.0.7"), "{wrong}");
        let right = plan("10.0.0.1:29001=10.9.0.1:29001", &wanted.new).patch(&wrong);
        assert_eq!(right.lines().count(), 4, "{right}");
        assert!(right.starts_with(own) && right.contains("'10.9.0.1:29001'"));
        assert!(!right.contains("10.9.0.7"), "{right}");
    }

    #[test]
    fn a_member_that_moves_there_and_back_and_there_is_there() {
        let pairs =
            ["10.0.0.1:1=10.9.0.1:1", "10.9.0.1:1=10.0.0.1:1"].map(|it| it.parse().unwrap());
        let mut patch = String::new();
        for wanted in [&pairs[0], &pairs[1], &pairs[0]] {
            let wanted: &Moved = wanted;
            let plan = Plan {
                members: changes(&[wanted], [&wanted.old].into_iter()).unwrap(),
                servers: AddressChanges::new(Vec::new()).unwrap(),
                trusted: vec![entry("node1", &wanted.old)],
                datastore: BTreeMap::new(),
            };
            patch = plan.patch(&patch);
        }
        let last = patch.lines().last().unwrap();
        assert!(last.contains("SET address = '10.9.0.1:1'"), "{patch}");
        assert_eq!(patch.lines().count(), 2, "{patch}");
    }

    #[test]
    fn every_address_is_named() {
        let wanted: Moved = "10.0.0.1:1=10.0.0.2:1".parse().unwrap();
        let others = ["10.0.0.1:1".to_owned(), "10.0.0.3:1".to_owned()];
        let error = changes(&[&wanted], others.iter()).unwrap_err().to_string();
        assert!(error.contains("10.0.0.3:1=10.0.0.3:1"), "{error}");
        for bad in ["10.0.0.1:1", "10.0.0.1:1=", "10.0.0.1:1=0.0.0.0:1"] {
            assert!(bad.parse::<Moved>().is_err(), "{bad}");
        }
    }
}
