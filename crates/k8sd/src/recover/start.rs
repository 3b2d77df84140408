//! Applies a recovery when a daemon starts, before it opens its database.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use dqlite::{
    files::{read_info, write_info},
    node::{DirLock, EngineState, engine_state, find_damage},
    sql::{Piece, is_blank, split},
    wire::{NodeId, Role, Server},
};
use tracing::{info, warn};

use super::{WORK, archive::unpack, members::Listed, set_trust, swap::swap};
use crate::{
    Error, copy,
    database::Database,
    state::{DaemonFile, StateDir, read, remove_file},
    trust::Truststore,
};

/// The recovered database of another member.
const ARCHIVE: &str = "recovery_db.tar.gz";

/// Takes the database of a recovery that is there, and refuses to begin a new one in the place of one that
/// is missing. Whoever calls holds the control socket.
pub fn prepare(state: &StateDir, now_s: i64) -> Result<(), Error> {
    let archive = state.root().join(ARCHIVE);
    let own = state.read_daemon()?;
    if let Some(own) = &own {
        mend(state, own)?;
    }
    if archive.exists() {
        let own = own.ok_or_else(|| {
            wrong(
                &archive,
                "is there, but this node is no member of a cluster",
            )
        })?;
        take(state, &archive, &own, now_s)?;
    }
    Ok(())
}

fn wrong(path: &Path, reason: &str) -> Error {
    Error::Damaged {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

/// A member has a database, or the swap of a recovery was interrupted.
fn mend(state: &StateDir, own: &DaemonFile) -> Result<(), Error> {
    let (database, work) = (state.database(), state.root().join(WORK));
    let found = engine_state(&database).map_err(Error::file(&database))?;
    if found != EngineState::Empty || read_info(&database)?.is_some() {
        return Ok(());
    }
    if !work.is_dir() || read_info(&work)?.is_none() {
        return Err(wrong(
            &database,
            &format!(
                "is empty, and daemon.yaml says that this node is {}, a member of a cluster: bring its files back, or \
                 empty the whole state directory to join anew",
                own.name
            ),
        ));
    }
    warn!("the recovery of the database was interrupted, and is completed");
    fs::rename(&work, &database).map_err(Error::file(&work))?;
    copy::sync(state.root())
}

fn take(state: &StateDir, archive: &Path, own: &DaemonFile, now_s: i64) -> Result<(), Error> {
    info!(archive = %archive.display(), "the database of a recovery is put in place");
    let database = state.database();
    let work = state.root().join(WORK);
    copy::fresh_dir(&work)?;
    let listed = unpack(archive, &work)?;
    let info = read_info(&database)?.ok_or_else(|| wrong(&database, "has no info.yaml"))?;
    let me = check(&listed, info.id, &own.name).map_err(|reason| wrong(archive, &reason))?;
    check_database(&work).map_err(|reason| wrong(archive, &reason))?;
    write_info(&work, &me)?;
    keep_own(&database, &work)?;
    {
        let _lock = DirLock::acquire(&database)?;
        let backup = swap(state, &work, now_s)?;
        info!(backup = %backup.display(), "the database as it was is kept");
    }
    let trust = Truststore::load(state)?;
    set_trust(&trust, listed.iter().map(|m| (&m.name, &m.address)))?;
    state.move_daemon(&me.address)?;
    // Last: until here the next start does it again.
    remove_file(archive)
}

/// The list makes sense, and has this node.
fn check(listed: &[Listed], own_id: NodeId, own_name: &str) -> Result<Server, String> {
    let mut own = None;
    let (mut ids, mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut voters = 0;
    for member in listed {
        let Listed {
            id,
            address,
            role,
            name,
        } = member;
        let role = match role.as_str() {
            "voter" => Role::Voter,
            "stand-by" => Role::StandBy,
            "spare" => Role::Spare,
            other => return Err(format!("{name} has the role {other:?}")),
        };
        voters += usize::from(role == Role::Voter);
        if address.parse::<SocketAddr>().is_err() || id.is_unknown() {
            return Err(format!(
                "{name} has no id, or no address of the form ip:port"
            ));
        }
        if !ids.insert(*id) || !names.insert(name) || !addresses.insert(address) {
            return Err(format!("{name} has the id, name or address of another"));
        }
        if *id == own_id {
            if name != own_name {
                return Err(format!("calls this node {name}; it is {own_name}"));
            }
            own = Some(Server {
                id: *id,
                address: address.clone(),
                role,
            });
        }
    }
    if voters == 0 {
        return Err("has no voter".to_owned());
    }
    own.ok_or_else(|| format!("does not have this node, {own_name}: it is of another cluster"))
}

fn check_database(dir: &Path) -> Result<(), String> {
    match engine_state(dir).map_err(|error| error.to_string())? {
        EngineState::Present => {}
        _ => return Err("has no database".to_owned()),
    }
    match find_damage(dir).map_err(|error| error.to_string())? {
        None => Ok(()),
        Some(damage) => Err(damage),
    }
}

fn keep_own(from: &Path, to: &Path) -> Result<(), Error> {
    let path = |dir: &Path| -> PathBuf { dir.join("failure-domain") };
    match read(&path(from))? {
        Some(text) => crate::state::write(&path(to), text.as_bytes(), crate::state::PUBLIC),
        None => Ok(()),
    }
}

/// Runs the SQL that was left for the next start, once, and all of it or nothing.
pub async fn apply_patch(state: &StateDir, database: &Database) -> Result<(), Error> {
    let path = state.patch();
    let Some(text) = read(&path)? else {
        return Ok(());
    };
    let split = split(&text);
    if !is_blank(split.rest) {
        return Err(wrong(&path, "ends in the middle of a statement"));
    }
    let mut statements = Vec::new();
    for piece in &split.pieces {
        match piece {
            Piece::Statement(sql) => statements.push(*sql),
            Piece::Command(_) => return Err(wrong(&path, "has a command that is not SQL")),
        }
    }
    database
        .patch(&statements)
        .await
        .map_err(|error| wrong(&path, &error.to_string()))?;
    info!(
        statements = statements.len(),
        "patch.global.sql is carried out"
    );
    remove_file(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(id: u64) -> Listed {
        Listed {
            id: NodeId::new(id),
            address: format!("10.0.0.{id}:6400"),
            role: "voter".to_owned(),
            name: format!("node{id}"),
        }
    }

    #[test]
    fn a_list_without_this_node_or_with_nonsense_is_refused() {
        let good = [listed(1), listed(2)];
        assert_eq!(
            check(&good, NodeId::new(2), "node2").unwrap().address,
            "10.0.0.2:6400"
        );
        let change = |change: fn(&mut Listed)| {
            let mut list = good.to_vec();
            change(&mut list[1]);
            list
        };
        for (list, reason) in [
            (vec![listed(1)], "does not have this node"),
            (change(|m| m.name = "other".to_owned()), "calls this node"),
            (change(|m| m.id = NodeId::new(1)), "of another"),
            (
                change(|m| m.address = "10.0.0.1:6400".to_owned()),
                "of another",
            ),
            (change(|m| m.address = "x".to_owned()), "no address"),
            (change(|m| m.role = "king".to_owned()), "role"),
            (vec![], "no voter"),
        ] {
            let error = check(&list, NodeId::new(2), "node2").unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_member_without_its_database_does_not_begin_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        state.create().unwrap();
        prepare(&state, 1).unwrap();
        let own = DaemonFile {
            name: "node1".to_owned(),
            address: "10.0.0.1:6400".to_owned(),
            servers: Default::default(),
        };
        state.write_daemon(&own).unwrap();
        let error = prepare(&state, 1).unwrap_err().to_string();
        assert!(error.contains("is empty"), "{error}");
        let work = dir.path().join(WORK);
        fs::create_dir(&work).unwrap();
        let me = Server {
            id: NodeId::new(7),
            address: own.address.clone(),
            role: Role::Voter,
        };
        write_info(&work, &me).unwrap();
        prepare(&state, 1).unwrap();
        assert_eq!(
            read_info(&state.database()).unwrap().unwrap().id,
            NodeId::new(7)
        );
        fs::write(dir.path().join(ARCHIVE), "nonsense").unwrap();
        assert!(prepare(&state, 1).is_err(), "nothing is passed over");
        assert!(dir.path().join(ARCHIVE).exists());
    }
}
