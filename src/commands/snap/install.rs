//! The first start: a cluster of one node, ready for clients of this machine and for other nodes.

use std::net::IpAddr;

use dqlite::files::INFO_FILE;

use super::{
    HookError, Places,
    address::{self, manager_address, with_port},
    certificate,
    places::{self, MANAGER, SERVER},
    settings::NODE_PORT,
};
use crate::config::INIT;

const HEAD: &str = "# One flag a line. `snap restart k8s-dqlite` makes changes count.\n";

const STORAGE: &str = "${SNAP_COMMON}/var/lib/k8s-dqlite";
const STATE: &str = "${SNAP_COMMON}/var/lib/k8sd/state";

pub fn run(places: &Places) -> Result<(), HookError> {
    places.prepare()?;
    let (name, ip) = (address::host_name(), address::primary());
    let node = with_port(ip, NODE_PORT);
    write_missing_args(places, &name, &node)?;
    begin(places, &name, ip, &node)
}

/// Writes init.yaml and the pair, unless there is a node or the files that it begins with.
fn begin(places: &Places, name: &str, ip: IpAddr, node: &str) -> Result<(), HookError> {
    let storage = places.storage();
    if storage.join(INFO_FILE).exists() {
        return Ok(());
    }
    certificate::make(places, name, ip)?;
    let init = storage.join(INIT);
    match init.exists() {
        true => Ok(()),
        false => places::write(&init, &format!("Address: {node}\n")),
    }
}

/// The args files that are not there.
pub fn write_missing_args(places: &Places, name: &str, node: &str) -> Result<(), HookError> {
    let server = format!("--storage-dir={STORAGE}\n");
    let manager = format!(
        "--state-dir={STATE}\n--name={name}\n--address={}\n\
         --datastore-dir={STORAGE}\n--datastore-address={node}\n",
        manager_address(node)
    );
    for (service, flags) in [(SERVER, server), (MANAGER, manager)] {
        let path = places.args(service);
        if places::read(&path)?.is_none() {
            places::write(&path, &format!("{HEAD}{flags}"))?;
        }
    }
    Ok(())
}
