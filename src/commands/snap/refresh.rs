//! The hooks before and after a refresh.

use std::{fs, io};

use super::{
    HookError, SnapPaths, address, install,
    settings::{KEYS, REFRESH_WHEN_DEGRADED, is_on, unknown},
};
use crate::{
    cluster::status::{Health, NodeReport},
    commands::{machine, status},
};

/// Fails while other nodes are down, since a restart of this node could then stop all writes: snapd
/// tries again. While this runs, the old revision serves.
pub async fn before(paths: &SnapPaths, now_s: i64) -> Result<(), HookError> {
    if is_on(&paths.settings(&KEYS)?, REFRESH_WHEN_DEGRADED) {
        return Ok(());
    }
    // A node that does not work yet, or no more, is not made worse by another program.
    let Ok(report) = status::run(&paths.storage(), None, now_s).await else {
        return Ok(());
    };
    if report.nodes.len() < 2 || report.health != Health::Degraded {
        return Ok(());
    }
    let is_down = |node: &&NodeReport| !node.is_own && !node.is_reachable;
    let down: Vec<&str> = report
        .nodes
        .iter()
        .filter(is_down)
        .map(|node| node.address.as_str())
        .collect();
    if down.is_empty() {
        return Ok(());
    }
    Err(HookError::Refused(format!(
        "not now: {} cannot be reached, and restarting this node, too, could stop the cluster. Start them or remove \
         them; to refresh anyway: snap set {} {REFRESH_WHEN_DEGRADED}=true",
        down.join(", "),
        paths.instance
    )))
}

/// The services are stopped. Brings the layout of older revisions to today's.
pub fn after(paths: &SnapPaths) -> Result<(), HookError> {
    take_over_old_data(paths)?;
    paths.prepare()?;
    // An older revision let them pass, and `configure`, which comes next, refuses them.
    for key in unknown(&paths.all_keys()) {
        paths.unset(key)?;
    }
    let own = paths.own_node().ok().flatten();
    let node = own.map_or_else(address::default_node, |own| own.address);
    install::write_missing_args(paths, &machine::host_name(), &node)
}

/// Snaps before this one had the data in the directory of the revision. That of the older revision stays as a copy.
fn take_over_old_data(paths: &SnapPaths) -> Result<(), HookError> {
    let (old, storage) = (paths.documented(), paths.storage());
    let is_directory = fs::symlink_metadata(&old).is_ok_and(|found| found.is_dir());
    if !is_directory {
        return Ok(());
    }
    match fs::remove_dir(&storage) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            return Err(HookError::Refused(format!(
                "{} has the data of an older revision, and {} is not empty: move one of the two away",
                old.display(),
                storage.display()
            )));
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(HookError::file(storage)(error));
        }
        _ => {}
    }
    let parent = storage.parent().expect("it is in $SNAP_COMMON");
    fs::create_dir_all(parent).map_err(HookError::file(parent))?;
    fs::rename(&old, &storage).map_err(HookError::file(&old))
}
