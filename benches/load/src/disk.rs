//! Measures how fast the disk makes a small append durable, which limits every write.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::histogram::Histogram;

const BLOCK_BYTES: usize = 4096;
const BLOCKS: usize = 500;
/// A slow disk gives enough samples in this time.
const MAX_TIME: Duration = Duration::from_secs(3);

/// Appends blocks to a new file in `dir`, each followed by fdatasync, and describes the times.
pub fn probe(dir: &Path) -> Result<String, Failure> {
    let path = dir.join(format!(".disk-probe-{}", std::process::id()));
    let outcome = append(&path);
    let _ = std::fs::remove_file(&path);
    let histogram =
        outcome.map_err(|error| Failure::Machine(format!("{}: {error}", dir.display())))?;
    Ok(format!(
        "4 KiB append + fdatasync: p50 {} us, p99 {} us",
        histogram.quantile(0.5).as_micros(),
        histogram.quantile(0.99).as_micros()
    ))
}

fn append(path: &Path) -> std::io::Result<Histogram> {
    let mut file = OpenOptions::new()
        .append(true)
        .create_new(true)
        .open(path)?;
    let block = [0x5a; BLOCK_BYTES];
    let mut histogram = Histogram::default();
    let started = Instant::now();
    for _ in 0..BLOCKS {
        let before = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        histogram.record(before.elapsed());
        if started.elapsed() > MAX_TIME {
            break;
        }
    }
    Ok(histogram)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probing_leaves_no_file_behind() {
        let dir = tempfile::tempdir().unwrap();
        assert!(probe(dir.path()).unwrap().contains("p99"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_missing_directory_is_named() {
        let failure = probe(Path::new("/nowhere/at/all")).unwrap_err();
        assert!(failure.to_string().contains("/nowhere/at/all"));
    }
}
