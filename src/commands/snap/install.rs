//! The first start: a cluster of one node, ready for clients of this machine and for other nodes.

use std::net::IpAddr;

use dqlite::files::{INFO_FILE, yaml_value};

use super::{
    HookError, SnapPaths,
    address::manager_address,
    certificate,
    paths::{self, MANAGER, SERVER},
    settings::NODE_PORT,
};
use crate::{address::authority, commands::machine, config::INIT};

const HEAD: &str = "# One flag a line. `snap restart k8s-dqlite` makes changes count.\n";

const STORAGE: &str = "${SNAP_COMMON}/var/lib/k8s-dqlite";
const STATE: &str = "${SNAP_COMMON}/var/lib/k8sd/state";

pub fn run(paths: &SnapPaths) -> Result<(), HookError> {
    paths.prepare()?;
    let (name, ip) = (machine::host_name(), machine::primary());
    let node = authority(&ip.to_string(), NODE_PORT);
    write_missing_args(paths, &name, &node)?;
    begin(paths, &name, ip, &node)
}

/// Writes init.yaml and the pair, unless there is a node or the files that it begins with.
fn begin(paths: &SnapPaths, name: &str, ip: IpAddr, node: &str) -> Result<(), HookError> {
    let storage = paths.storage();
    if storage.join(INFO_FILE).exists() {
        return Ok(());
    }
    certificate::make(paths, name, ip)?;
    let init = storage.join(INIT);
    match init.exists() {
        true => Ok(()),
        false => paths::write(&init, &format!("Address: {}\n", yaml_value(node))),
    }
}

/// The args files that are not there.
pub fn write_missing_args(paths: &SnapPaths, name: &str, node: &str) -> Result<(), HookError> {
    let server = format!("--storage-dir={STORAGE}\n");
    let manager = format!(
        "--state-dir={STATE}\n--name={name}\n--address={}\n\
         --datastore-dir={STORAGE}\n--datastore-address={node}\n",
        manager_address(node)
    );
    for (service, flags) in [(SERVER, server), (MANAGER, manager)] {
        let path = paths.args(service);
        if paths::read(&path)?.is_none() {
            paths::write(&path, &format!("{HEAD}{flags}"))?;
        }
    }
    Ok(())
}
