//! The sub-command `status`: what every node of a cluster says, for people and for scripts.

mod table;

use std::path::Path;

use crate::{
    cluster::status::{Known, Report, gather},
    config::ConfigError,
};

/// Asks the nodes. `now_s` is in seconds since 1970.
pub async fn run(
    storage_dir: &Path,
    enable_tls: Option<bool>,
    now_s: i64,
) -> Result<Report, ConfigError> {
    let known = Known::read(storage_dir, enable_tls)?;
    let gathered = gather(&known).await;
    Ok(Report::new(&known, gathered, now_s))
}
