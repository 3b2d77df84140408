//! The sub-command `recover`: from a lost majority back to a cluster, from a damaged directory back to
//! a node, and from one network to another.
//!
//! Invariants: nothing is changed without `--yes` (`--reseed` is one of its own), nor before a copy of it is
//! on the disk; a directory in use is never touched; whoever has newer data is told apart first; no other node of the
//! cluster may run. Until
//! the last file is written, running it again does the rest.

mod addresses;
mod advice;
mod backup;
mod reseed;
mod survey;

use std::path::{Path, PathBuf};

use dqlite::{
    cluster_id::ClusterId,
    files::{self, read_cluster, write_cluster, write_info},
    node::{DirLock, NodeError, last_entry, plan_cut, survey::newer},
    wire::{NodeId, Role, Server},
};

use self::survey::survey;
use crate::{
    args::{Accepted, MemberArg, RecoverArgs},
    config::{ConfigError, init_address},
};

#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The command would lose data, or make no sense; the text says what to do.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// Returns what is to be printed. `now_s`, seconds since 1970, is for the name of the backup.
pub async fn run(args: &RecoverArgs, now_s: i64) -> Result<String, RecoverError> {
    match &args.storage_dir {
        Some(dir) => reseed::run(&absolute(dir)?, args, now_s).await,
        None if !args.addresses.is_empty() => {
            addresses::run(&absolute(&args.dirs[0])?, args, now_s).await
        }
        None => recover(args, now_s).await,
    }
}

async fn recover(args: &RecoverArgs, now_s: i64) -> Result<String, RecoverError> {
    let mut surveyed = Vec::new();
    for (at, dir) in args.dirs.iter().enumerate() {
        // The first one is the target.
        surveyed.push(survey(&absolute(dir)?, args.cut && at == 0)?);
    }
    let table = survey::table(&surveyed);
    let target = &surveyed[0];
    let state = target.state.as_ref().map_err(|reason| {
        RecoverError::Refused(format!("{table}\n{}", advice::unusable(target, reason)))
    })?;
    if let Some(newer) = newer(&surveyed)
        && !args.force.contains(&Accepted::LoseNewerData)
    {
        return Err(RecoverError::Refused(format!(
            "{table}\n{}",
            advice::stale(target, newer)
        )));
    }
    let dir = &target.dir;
    if args.cut && state.cut.is_none() {
        return Err(RecoverError::Refused(format!(
            "{table}\n{} is not damaged: there is nothing to cut, leave out --cut",
            dir.display()
        )));
    }
    if init_address(dir)?.is_some() {
        return Err(RecoverError::Refused(format!(
            "{table}\n{} has an init.yaml: its node never became one of the cluster",
            dir.display()
        )));
    }
    if !args.force.contains(&Accepted::LeaveOthersRunning) {
        refuse_running(dir, &table).await?;
    }
    let members = members(&state.own, &args.members)?;
    let former = read_cluster(dir).map_err(ConfigError::from)?;
    let former = former.unwrap_or_default();
    let plan = advice::Plan {
        dir,
        members: &members,
        former: &former,
        own_id: state.own.id,
    };
    if !args.yes {
        return Ok(format!("{table}\n{}", plan.before()));
    }
    let lock = DirLock::acquire(dir)?;
    let copy = backup::copy(dir, now_s)?;
    let is_as_seen = match &state.cut {
        Some(cut) => plan_cut(&lock)?.as_ref() == Some(cut),
        None => last_entry(&lock)? == state.last_entry,
    };
    if !is_as_seen {
        return Err(RecoverError::Refused(format!(
            "{} has changed meanwhile: run this again",
            dir.display()
        )));
    }
    // Whoever has the log of before is of another history from here on.
    ClusterId::renew(dir).map_err(ConfigError::from)?;
    if let Some(cut) = &state.cut {
        cut.apply(&lock)?;
    }
    let end = dqlite::node::recover(lock, &members)?;
    write_files(dir, state.own.id, &members)?;
    Ok(format!("{table}\n{}", plan.after(end, &copy)))
}

async fn refuse_running(dir: &Path, table: &str) -> Result<(), RecoverError> {
    let running = survey::running(dir).await?;
    match running.is_empty() {
        true => Ok(()),
        false => Err(RecoverError::Refused(format!(
            "{table}\n{}",
            advice::still_run(dir, &running)
        ))),
    }
}

fn write_files(dir: &Path, own_id: NodeId, members: &[Server]) -> Result<(), ConfigError> {
    write_cluster(dir, members)?;
    if let Some(own) = members.iter().find(|member| member.id == own_id) {
        write_info(dir, own)?;
    }
    files::joined(dir)?;
    Ok(files::bootstrapped(dir)?)
}

/// All of them vote: a cluster that is being recovered needs its majority from what is there.
fn members(own: &Server, wanted: &[MemberArg]) -> Result<Vec<Server>, RecoverError> {
    let voter = |id, address: &str| Server {
        id,
        address: address.to_owned(),
        role: Role::Voter,
    };
    if wanted.is_empty() {
        return Ok(vec![voter(own.id, &own.address)]);
    }
    let members: Vec<Server> = wanted
        .iter()
        .map(|member| voter(member.id, member.address.as_str()))
        .collect();
    for (at, member) in members.iter().enumerate() {
        let is_same = |other: &Server| other.id == member.id || other.address == member.address;
        if members[..at].iter().any(is_same) {
            return Err(RecoverError::Refused(format!(
                "--members has {}@{} twice",
                member.id, member.address
            )));
        }
    }
    match members.iter().any(|member| member.id == own.id) {
        true => Ok(members),
        false => Err(RecoverError::Refused(format!(
            "--members must include the node of the directory, {}@{}",
            own.id, own.address
        ))),
    }
}

fn absolute(dir: &Path) -> Result<PathBuf, ConfigError> {
    let absolute = dir.canonicalize();
    absolute.map_err(|source| ConfigError::Unreadable {
        path: dir.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_of_the_directory_is_a_member() {
        let own = Server {
            id: NodeId::new(7),
            address: "10.0.0.1:9000".to_owned(),
            role: Role::StandBy,
        };
        let alone = members(&own, &[]).unwrap();
        assert_eq!(
            (alone[0].id, alone[0].role, alone.len()),
            (NodeId::new(7), Role::Voter, 1)
        );
        let wanted = |texts: &[&str]| -> Vec<MemberArg> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        // The address may change on this occasion.
        let moved = members(&own, &wanted(&["7@10.0.0.9:9000", "8@10.0.0.2:9000"])).unwrap();
        assert_eq!(moved[0].address, "10.0.0.9:9000");
        for bad in [
            &["8@10.0.0.2:9000"][..],
            &["7@10.0.0.1:9000", "7@10.0.0.2:9000"],
            &["7@10.0.0.1:9000", "8@10.0.0.1:9000"],
        ] {
            assert!(members(&own, &wanted(bad)).is_err(), "{bad:?}");
        }
    }
}
