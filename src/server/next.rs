//! A prepared storage directory takes the place of the one in use.

use std::path::Path;

use tracing::info;

use super::ServerError;
use crate::{cluster::node::check_init, config};

/// Replaces the storage directory by the prepared next one, if there is one whose node can listen here. `now_s` is in
/// seconds since 1970.
pub async fn take_next(dir: &Path, now_s: i64) -> Result<(), ServerError> {
    check_init(&config::next_of(dir)).await?;
    if let Some(old) = config::take_next(dir, now_s)? {
        info!(old = %old.display(), "replaced the storage directory by the prepared next one");
    }
    Ok(())
}
