//! The place of the archive, from the flags.

use std::path::{Path, PathBuf, absolute};

use super::ConfigError;
use crate::{archive::ArchiveSettings, args::Args};

pub fn settings(args: &Args) -> Result<Option<ArchiveSettings>, ConfigError> {
    let url = &args.archive.archive;
    if url.is_empty() {
        return Ok(None);
    }
    let invalid = |reason: String| ConfigError::Invalid {
        path: PathBuf::from("--archive"),
        reason,
    };
    let own = absolute(&args.storage_dir).unwrap_or_else(|_| args.storage_dir.clone());
    if let Some(path) = url.strip_prefix("file://")
        && Path::new(path).starts_with(own)
    {
        let reason = "it is in the storage directory: an archive is for when that is lost";
        return Err(invalid(reason.to_owned()));
    }
    let settings = ArchiveSettings::open(
        url,
        args.archive.access.options(),
        args.archive.archive_interval,
    );
    settings
        .map(Some)
        .map_err(|error| invalid(error.to_string()))
}
