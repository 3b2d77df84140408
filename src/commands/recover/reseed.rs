//! A node whose data are damaged, while the others have theirs: moves the data aside, so that it joins again
//! as one with an empty directory.

use std::path::Path;

use dqlite::{
    files::{IDENTITY_FILES, replace, stays_beside_init, sync_dir},
    node::DirLock,
    wire::Server,
};

use super::{
    RecoverError,
    advice::{self, init_yaml},
    backup,
};
use crate::{
    args::{Accepted, RecoverArgs},
    cluster::status::{StatusTargets, gather},
    config::INIT,
};

pub async fn run(dir: &Path, args: &RecoverArgs, now_s: i64) -> Result<String, RecoverError> {
    let _lock = DirLock::acquire(dir)?;
    let mut targets = StatusTargets::read(dir, args.enable_tls)?;
    let own = targets.own.clone();
    targets
        .servers
        .retain(|server| server.address != own.address);
    if targets.servers.is_empty() {
        return Err(RecoverError::Refused(format!(
            "cluster.yaml of {} names no other node that could have the data: restore a backup",
            dir.display()
        )));
    }
    let is_loss_accepted = args.force.contains(&Accepted::LoseNewerData);
    if !is_loss_accepted && gather(&targets, None).await.leader().is_none() {
        return Err(RecoverError::Refused(advice::nobody_leads(
            dir,
            &targets.servers,
        )));
    }
    let to = backup::create(dir, now_s)?;
    move_data(dir, &to, &own, &targets.servers).map_err(|error| backup::unwritable(&to, error))?;
    Ok(advice::reseeded(dir, &to, &targets.servers))
}

/// Moves the data of a node away. The files that identify the node go last: until then this can be
/// repeated, and no server starts.
fn move_data(dir: &Path, to: &Path, own: &Server, others: &[Server]) -> std::io::Result<()> {
    let (identity, mut data): (Vec<_>, Vec<_>) = backup::files(dir)?
        .into_iter()
        .filter(|name| !stays_beside_init(&name.to_string_lossy()) || name == INIT)
        .partition(|name| IDENTITY_FILES.iter().any(|known| name == known));
    // Without its metadata no engine takes what is left.
    data.sort_by_key(|name| !name.to_string_lossy().starts_with("metadata"));
    for name in &data {
        backup::move_file(&dir.join(name), &to.join(name))?;
    }
    let text = init_yaml(&own.address, others);
    replace(&dir.join(INIT), text.as_bytes(), 0o644)?;
    for name in &identity {
        backup::move_file(&dir.join(name), &to.join(name))?;
    }
    sync_dir(to)?;
    sync_dir(dir)
}
