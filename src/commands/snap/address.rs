//! The addresses of this node and of its cluster manager.

use super::{
    HookError, SnapPaths,
    settings::{MANAGER_PORT, NODE_PORT, Settings},
};
use crate::{address::authority, commands::machine, config::init_address};

/// Returns the address of the cluster manager on the host of the node.
pub fn manager_address(node: &str) -> String {
    let host = node.rsplit_once(':').map_or(node, |(host, _)| host);
    format!("{host}:{MANAGER_PORT}")
}

/// Returns whether k8sd is part of a cluster, be it one of this node alone.
pub fn is_managed(paths: &SnapPaths) -> bool {
    paths.manager().join("daemon.yaml").exists()
}

/// Returns the address that this node has, or will have.
pub fn node_address(paths: &SnapPaths, settings: &Settings) -> Result<String, HookError> {
    if let Some(address) = &settings.address {
        return Ok(address.as_str().to_owned());
    }
    if let Some(own) = paths.own_node()? {
        return Ok(own.address);
    }
    let init = init_address(&paths.storage())?;
    Ok(init.map_or_else(default_node, |address| address.as_str().to_owned()))
}

/// Returns the address of a node on this machine.
pub fn default_node() -> String {
    authority(&machine::primary().to_string(), NODE_PORT)
}
