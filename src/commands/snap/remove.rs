//! The hook before the data is removed: tells the other nodes, which would count this node until
//! somebody removes it.

use std::process::Command;

use super::{SnapPaths, paths::MANAGER, snapctl};

/// Leaves the cluster. The services are stopped already. If this fails, the snap is still removed.
pub fn run(paths: &SnapPaths) {
    let mut k8sd = Command::new(paths.program(MANAGER));
    k8sd.arg("leave").arg("--state-dir").arg(paths.manager());
    if let Err(error) = snapctl::run(&mut k8sd, "k8sd leave") {
        eprintln!("{error}");
    }
}
