//! Recovers a cluster that has lost its majority.
//!
//! | Module | Owns |
//! |---|---|
//! | `addresses` | other addresses for all members |
//! | `survey` | the state of each directory, and the newest of them |
//! | `plan` | the members afterwards, and the text for the operator. Pure |
//! | `swap` | one directory in the place of another |
//! | `archive` | the recovered database for the other members |
//! | `members` | the members of a recovered cluster, and how the archive lists them |
//! | `start` | completes a recovery before the daemon opens its database |
//!
//! Invariants: nothing is changed unless it is wanted; the database is rewritten on a copy, and what it was
//! before stays, byte by byte; a daemon that answers, here or on another member, is in the way. Until the last
//! file is written, running it again does the rest.

mod addresses;
mod archive;
mod members;
mod plan;
mod start;
mod survey;
mod swap;

use std::path::{Path, PathBuf};

use dqlite::{
    cluster::listening,
    cluster_id::ClusterId,
    files::{bootstrapped, joined, read_cluster, write_cluster, write_info},
    node::{DirLock, LastEntry, survey::newer},
};

use crate::{
    Error, copy,
    offline::refuse_running,
    schema,
    source::others,
    state::{DaemonFile, StateDir, read},
    trust::{TrustEntry, Truststore},
};

pub use addresses::{Moved, WantedAddresses, change as change_addresses};
pub use plan::Kept;
pub(crate) use start::{apply_patch, prepare};

use plan::Plan;

/// The archive for the other members; on them it is called `recovery_db.tar.gz`.
const ARCHIVE_FOR_OTHERS: &str = "recovery_db.others.tar.gz";

/// A database that is about to be put in place.
const WORK: &str = "recovery_db";

pub struct Wanted<'a> {
    pub state: &'a StateDir,
    /// Directories of other members.
    pub compare: &'a [PathBuf],
    /// None: this node alone.
    pub members: &'a [Kept],
    /// False if the recovery only says what it would do.
    pub is_wanted: bool,
    pub loses_newer_data: bool,
}

/// Returns what is to be printed. `now_s`, seconds since 1970, is for the name of the backup. Blocks.
pub async fn recover(wanted: &Wanted<'_>, now_s: i64) -> Result<String, Error> {
    let state = wanted.state;
    let own = state.read_member()?;
    refuse_running(state).await?;
    refuse_live_members(state, &own).await?;
    let database = state.database();
    let mut surveyed = vec![survey::survey(&database)?];
    for dir in wanted.compare {
        surveyed.push(survey::survey(&database_in(dir))?);
    }
    let table = survey::table(&surveyed);
    let target = match &surveyed[0].state {
        Ok(found) => found.clone(),
        Err(reason) => {
            return Err(Error::Invalid(format!(
                "{table}{} cannot be recovered: {reason}. Recover another member's directory.",
                database.display()
            )));
        }
    };
    if let Some(newer) = newer(&surveyed)
        && !wanted.loses_newer_data
    {
        return Err(Error::Conflict(format!(
            "{table}{} is not the newest: what {} has beyond it would be lost. Recover that one, on its machine; \
             to lose it, add --force=lose-newer-data",
            database.display(),
            newer.dir.display()
        )));
    }
    let trust = Truststore::load(state)?;
    let plan = Plan::new(
        &own,
        &target.own,
        wanted.members,
        &trust.entries(),
        &read_cluster(&database)?.unwrap_or_default(),
    )?;
    if !wanted.is_wanted {
        return Ok(format!("{table}{}", plan.before(state.root())));
    }
    let (end, backup) = replace(state, &plan, target.last_entry, now_s)?;
    write_files(state, &plan, &trust)?;
    Ok(format!("{table}{}", plan.after(state.root(), end, &backup)))
}

/// Puts a rewritten copy in the place of the database.
fn replace(
    state: &StateDir,
    plan: &Plan,
    seen: LastEntry,
    now_s: i64,
) -> Result<(LastEntry, PathBuf), Error> {
    let database = state.database();
    let _lock = DirLock::acquire_unchanged(&database)?;
    let work = state.root().join(WORK);
    copy::fresh_dir(&work)?;
    copy::copy(&database, &work)?;
    let lock = DirLock::acquire(&work)?;
    if dqlite::node::last_entry(&lock)? != seen {
        return Err(Error::Conflict(format!(
            "{} has changed meanwhile: run this again",
            database.display()
        )));
    }
    let servers = plan.servers();
    // Whoever has the log of before is of another history from here on.
    ClusterId::renew(&work)?;
    let end = dqlite::node::recover(lock, &servers)?;
    write_cluster(&work, &servers)?;
    write_info(&work, &plan.own_server())?;
    joined(&work)?;
    bootstrapped(&work)?;
    if servers.len() > 1 {
        archive::write(&work, &plan.members, &state.root().join(ARCHIVE_FOR_OTHERS))?;
    }
    let backup = swap::swap(state, &work, now_s)?;
    Ok((end, backup))
}

fn write_files(state: &StateDir, plan: &Plan, trust: &Truststore) -> Result<(), Error> {
    set_trust(trust, plan.members.iter().map(|m| (&m.name, &m.address)))?;
    state.move_daemon(&plan.own_server().address)?;
    let mut patch = read(&state.patch())?.unwrap_or_default();
    for member in &plan.members {
        patch += &format!("{}\n", schema::move_member(&member.name, &member.address));
    }
    for gone in &plan.dropped {
        patch += &format!("{}\n", schema::drop_member(&gone.name));
    }
    state.write_patch(&patch)
}

/// Trusts exactly these members, under these addresses.
fn set_trust<'a>(
    trust: &Truststore,
    members: impl Iterator<Item = (&'a String, &'a String)>,
) -> Result<(), Error> {
    let known = trust.entries();
    let mut entries = Vec::new();
    for (name, address) in members {
        let Some(entry) = known.iter().find(|entry| entry.name == *name) else {
            return Err(Error::Invalid(format!(
                "the truststore has no certificate of {name}"
            )));
        };
        entries.push(TrustEntry {
            address: address.clone(),
            ..entry.clone()
        });
    }
    trust.replace(entries)
}

/// Whoever accepts a connection is part of the cluster that is to be replaced, also one that hangs.
async fn refuse_live_members(state: &StateDir, own: &DaemonFile) -> Result<(), Error> {
    let live = listening(others(state, &own.address)?).await;
    match live.is_empty() {
        true => Ok(()),
        false => Err(Error::Conflict(format!(
            "other members run: {}. If a majority of them can run, nothing is to be recovered; else stop k8sd on \
             all of them first",
            live.join(", ")
        ))),
    }
}

/// The directory may be a state directory, or the database in it.
fn database_in(dir: &Path) -> PathBuf {
    let inside = dir.join("database");
    match inside.is_dir() {
        true => inside,
        false => dir.to_owned(),
    }
}
