//! The files that a storage directory may hold before its node has run. Pure.

use super::durable::TEMPORARY_PREFIX;

/// The files that may lie beside init.yaml: those that the Go server allows, those of a mount
/// point, and the one that locking the directory leaves behind.
pub const BESIDE_INIT: [&str; 8] = [
    "cluster.crt",
    "cluster.key",
    "cluster-rotation.yaml",
    "init.yaml",
    "failure-domain",
    "tuning.yaml",
    "lost+found",
    "dqlite-lock",
];

/// Returns whether a file belongs to the machine and not to the data of the node, or the engine deletes it.
pub fn stays_beside_init(name: &str) -> bool {
    BESIDE_INIT.contains(&name) || name.starts_with(TEMPORARY_PREFIX)
}
