//! The sub-command `status`: what every node of a cluster says, for people and for scripts.

mod table;

use std::path::Path;

use crate::{
    cluster::status::{Report, StatusTargets, gather},
    config::ConfigError,
};

/// Asks the nodes. `now_s` is in seconds since 1970.
pub async fn run(
    storage_dir: &Path,
    enable_tls: Option<bool>,
    now_s: i64,
) -> Result<Report, ConfigError> {
    let targets = StatusTargets::read(storage_dir, enable_tls)?;
    let gathered = gather(&targets, None).await;
    Ok(Report::new(&targets, gathered, now_s))
}
