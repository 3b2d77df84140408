//! The survey of directories: what each holds.

use std::path::Path;

use dqlite::{
    cluster::listening,
    files::{read_cluster, read_info},
    log::verify_directory,
    node::{
        DirLock, EngineState, NodeError, engine_state, find_damage, last_entry, plan_cut,
        survey::{self, DirState, Surveyed},
    },
};

use super::RecoverError;
use crate::config::ConfigError;

/// Surveys a directory. Fails only where nothing can be said, such as on a directory in use. With
/// `may_cut` a damaged one counts by what would be left of it.
pub fn survey(dir: &Path, may_cut: bool) -> Result<Surveyed, RecoverError> {
    let lock = DirLock::acquire(dir)?;
    Ok(Surveyed {
        dir: dir.to_owned(),
        state: look(dir, &lock, may_cut)?,
    })
}

fn look(
    dir: &Path,
    lock: &DirLock,
    may_cut: bool,
) -> Result<Result<DirState, String>, RecoverError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: dir.to_owned(),
        source,
    };
    match engine_state(dir).map_err(unreadable)? {
        EngineState::Present => {}
        EngineState::Empty => return Ok(Err("it has no data of dqlite".to_owned())),
        EngineState::WithoutMetadata => {
            return Ok(Err("metadata1 and metadata2 are missing".to_owned()));
        }
    }
    // Before the engine, which deletes what is half there.
    let cut = match may_cut {
        false => {
            if let Some(damage) = find_damage(dir)? {
                return Ok(Err(damage));
            }
            None
        }
        true => match plan_cut(lock) {
            Err(NodeError::Damaged { reason, .. }) => return Ok(Err(reason)),
            planned => planned?,
        },
    };
    let Some(own) = read_info(dir).map_err(ConfigError::from)? else {
        return Ok(Err("it has no info.yaml".to_owned()));
    };
    let end = match &cut {
        Some(cut) => Ok(cut.end),
        None => last_entry(lock),
    };
    match end {
        Ok(last_entry) => Ok(Ok(DirState {
            own,
            last_entry,
            cut,
        })),
        Err(NodeError::Damaged { reason, .. }) => Ok(Err(reason)),
        Err(NodeError::Engine { message, .. }) => Ok(Err(message)),
        Err(error) => Err(error.into()),
    }
}

/// Returns the addresses at which nodes of the cluster of a directory still run.
pub async fn running(dir: &Path) -> Result<Vec<String>, RecoverError> {
    let mut known = read_cluster(dir)
        .map_err(ConfigError::from)?
        .unwrap_or_default();
    // That of a damaged log, which is to be cut, is not known.
    let configuration = verify_directory(dir).ok().and_then(|log| log.configuration);
    known.extend(configuration.into_iter().flat_map(|it| it.servers));
    let addresses = known.into_iter().map(|server| server.address);
    Ok(listening(addresses).await)
}

/// Returns a table with a line for each directory.
pub fn table(surveyed: &[Surveyed]) -> String {
    survey::table(surveyed, |own| {
        format!("node {:x} at {}", own.id, own.address)
    })
}
