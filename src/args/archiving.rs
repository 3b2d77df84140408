//! The flags of the continuous archive.

use std::time::Duration;

use clap::Args;

use super::{GoDuration, archive::AccessFlags};

/// The longest interval: what is in it is lost with the machines.
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, Args)]
pub struct ArchiveFlags {
    /// Write all that is committed to this place as well, such as file:///mnt/archive or s3://BUCKET/PREFIX. Empty: none.
    #[arg(long, value_name = "URL", default_value = "")]
    pub archive: String,

    #[command(flatten)]
    pub access: AccessFlags,

    /// Time after which what was committed is in the archive; 1s to 1h.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = interval)]
    pub archive_interval: Duration,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval: GoDuration = text.parse().map_err(|error| format!("{error}"))?;
    let interval = interval.positive().unwrap_or_default();
    match (Duration::from_secs(1)..=LONGEST_INTERVAL).contains(&interval) {
        true => Ok(interval),
        false => Err("must be at least 1s and at most 1h".to_owned()),
    }
}
