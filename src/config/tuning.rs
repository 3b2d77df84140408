//! `tuning.yaml`: what an operator may change about the engine and the compaction.

use std::{fmt, path::Path, time::Duration};

use dqlite::node::{SnapshotOptions, Trailing};
use serde::{Deserialize, Deserializer, de::Visitor};

use super::{ConfigError, yaml};
use crate::args::GoDuration;

const FILE: &str = "tuning.yaml";

const KEYS: [&str; 7] = [
    "snapshot",
    "snapshot.threshold",
    "snapshot.trailing",
    "snapshot.strategy",
    "network-latency",
    "kine-compact-interval",
    "kine-poll-interval",
];

/// The Go server's limits. Below them, nodes that fell behind a little would be sent whole snapshots.
const THRESHOLD_MIN: u32 = 384;
const TRAILING_MIN: u32 = 512;

/// The entries of the log that the Go server keeps if the file does not say.
const DEFAULT_TRAILING: u64 = 4096;

/// The engine's limits.
const LATENCY_MIN: Duration = Duration::from_millis(1);
const LATENCY_MAX: Duration = Duration::from_secs(3600);

/// The default of etcd and of the Go server.
const DEFAULT_COMPACT_INTERVAL: Duration = Duration::from_secs(300);

/// Compacting more often would only wake an idle server.
const COMPACT_INTERVAL_MIN: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    /// The snapshot settings. `None`: those that suit the size of this server's log entries.
    pub snapshot: Option<SnapshotOptions>,
    /// The latency one way. `None`: the engine's default.
    pub network_latency: Option<Duration>,
    /// The interval of compactions. `None`: never.
    pub compact_interval: Option<Duration>,
}

impl Default for Tuning {
    fn default() -> Self {
        let compact_interval = Some(DEFAULT_COMPACT_INTERVAL);
        Self {
            snapshot: None,
            network_latency: None,
            compact_interval,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct TuningFile {
    snapshot: Option<SnapshotFile>,
    network_latency: Option<FileDuration>,
    kine_compact_interval: Option<FileDuration>,
    kine_poll_interval: Option<FileDuration>,
}

#[derive(Debug, Default, Deserialize)]
struct SnapshotFile {
    threshold: Option<u64>,
    trailing: Option<u64>,
    strategy: Option<String>,
}

/// Reads the file, if there is one, and adds to `warnings` what it does not mean.
pub(super) fn read(dir: &Path, warnings: &mut Vec<String>) -> Result<Tuning, ConfigError> {
    let path = dir.join(FILE);
    let Some(text) = yaml::read(&path)? else {
        return Ok(Tuning::default());
    };
    let file: TuningFile = yaml::parse(&path, &text)?.unwrap_or_default();
    file.check().map_err(|reason| ConfigError::Invalid {
        path: path.clone(),
        reason,
    })?;
    let unknown = yaml::unknown_keys(&text, &KEYS).into_iter();
    let unknown = unknown.map(|key| format!("the key {key:?} is not known and has no effect"));
    let (tuning, remarks) = file.into_tuning();
    let remarks = unknown
        .chain(remarks)
        .map(|remark| format!("{}: {remark}", path.display()));
    warnings.extend(remarks);
    Ok(tuning)
}

impl TuningFile {
    /// Refuses what nobody can have meant.
    fn check(&self) -> Result<(), String> {
        for (name, given, allowed) in [
            (
                "network-latency",
                &self.network_latency,
                "1ms to 1h, or 0 for the default",
            ),
            (
                "kine-compact-interval",
                &self.kine_compact_interval,
                "1s and more, or 0 for never",
            ),
        ] {
            if let Some(FileDuration(given)) = given
                && *given < GoDuration::from_nanos(0)
            {
                return Err(format!("{name} is {given}: {allowed} is allowed"));
            }
        }
        Ok(())
    }

    fn into_tuning(self) -> (Tuning, Vec<String>) {
        let mut remarks = Vec::new();
        let snapshot = self
            .snapshot
            .map(|snapshot| snapshot.into_options(&mut remarks));
        let network_latency = self.network_latency.and_then(|FileDuration(latency)| {
            let latency = latency.positive()?;
            Some(clamped(
                "network-latency",
                latency,
                LATENCY_MIN,
                LATENCY_MAX,
                &mut remarks,
            ))
        });
        let compact_interval = match self.kine_compact_interval {
            None => Some(DEFAULT_COMPACT_INTERVAL),
            Some(FileDuration(interval)) => {
                let name = "kine-compact-interval";
                let interval = interval.positive().map(|interval| {
                    clamped(
                        name,
                        interval,
                        COMPACT_INTERVAL_MIN,
                        Duration::MAX,
                        &mut remarks,
                    )
                });
                if interval.is_none() {
                    remarks.push(format!(
                        "{name} is 0: history is kept until a client compacts"
                    ));
                }
                interval
            }
        };
        if self.kine_poll_interval.is_some() {
            remarks.push("kine-poll-interval has no effect: watches do not poll".to_owned());
        }
        (
            Tuning {
                snapshot,
                network_latency,
                compact_interval,
            },
            remarks,
        )
    }
}

impl SnapshotFile {
    fn into_options(self, remarks: &mut Vec<String>) -> SnapshotOptions {
        let given = self.trailing.unwrap_or(DEFAULT_TRAILING);
        let trailing = within("snapshot.trailing", given, TRAILING_MIN, u32::MAX, remarks);
        let threshold = match self.threshold.unwrap_or(0) {
            0 => {
                let threshold = trailing / 4 * 3;
                remarks.push(format!(
                    "snapshot.threshold is not set, {threshold} is used"
                ));
                threshold
            }
            given => within(
                "snapshot.threshold",
                given,
                THRESHOLD_MIN,
                trailing,
                remarks,
            ),
        };
        let strategy = match self
            .strategy
            .unwrap_or_default()
            .to_ascii_lowercase()
            .as_str()
        {
            "static" => Trailing::Static,
            "" | "dynamic" => Trailing::Dynamic,
            other => {
                remarks.push(format!(
                    "snapshot.strategy {other:?} is neither static nor dynamic, dynamic is used"
                ));
                Trailing::Dynamic
            }
        };
        SnapshotOptions {
            threshold,
            // Whoever sets something gets that.
            threshold_max: threshold,
            trailing,
            strategy,
        }
    }
}

fn within(name: &str, given: u64, least: u32, most: u32, remarks: &mut Vec<String>) -> u32 {
    let used = given.clamp(least.into(), most.into());
    if used != given {
        remarks.push(format!(
            "{name} {given} is not between {least} and {most}, {used} is used"
        ));
    }
    used as u32
}

fn clamped(
    name: &str,
    given: Duration,
    least: Duration,
    most: Duration,
    remarks: &mut Vec<String>,
) -> Duration {
    let used = given.clamp(least, most);
    if used != given {
        let bound = if given < least { "least" } else { "most" };
        remarks.push(format!(
            "{name} {given:?} is out of bounds, at {bound} {used:?} is possible"
        ));
    }
    used
}

/// `25ms`, or a number of nanoseconds, as the Go server's YAML reader has it.
#[derive(Debug)]
struct FileDuration(GoDuration);

impl<'de> Deserialize<'de> for FileDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DurationVisitor;

        impl Visitor<'_> for DurationVisitor {
            type Value = GoDuration;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a duration such as 25ms, 1s or 5m")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<GoDuration, E> {
                text.parse()
                    .map_err(|error| E::custom(format_args!("{text:?} is {error}")))
            }

            fn visit_i64<E: serde::de::Error>(self, nanos: i64) -> Result<GoDuration, E> {
                Ok(GoDuration::from_nanos(nanos))
            }

            fn visit_u64<E: serde::de::Error>(self, nanos: u64) -> Result<GoDuration, E> {
                let nanos = i64::try_from(nanos).map_err(|_| E::custom("too long"))?;
                Ok(GoDuration::from_nanos(nanos))
            }
        }

        deserializer.deserialize_any(DurationVisitor).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuning(text: &str) -> (Tuning, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), text).unwrap();
        let mut warnings = Vec::new();
        (read(dir.path(), &mut warnings).unwrap(), warnings)
    }

    fn snapshot(text: &str) -> (u32, u32, Trailing, usize) {
        let (tuning, warnings) = tuning(&format!("snapshot: {text}"));
        let SnapshotOptions {
            threshold,
            trailing,
            strategy,
            ..
        } = tuning.snapshot.unwrap();
        (threshold, trailing, strategy, warnings.len())
    }

    #[test]
    fn without_a_file_or_in_an_empty_one_everything_has_its_default() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            read(dir.path(), &mut Vec::new()).unwrap(),
            Tuning::default()
        );
        assert_eq!(tuning("# nothing\n"), (Tuning::default(), Vec::new()));
        assert_eq!(
            Tuning::default().compact_interval,
            Some(Duration::from_secs(300))
        );
    }

    #[test]
    fn a_negative_duration_is_refused_with_what_is_allowed() {
        let dir = tempfile::tempdir().unwrap();
        for (text, allowed) in [
            ("network-latency: -5ms", "1ms to 1h"),
            ("kine-compact-interval: -1s", "1s and more"),
        ] {
            std::fs::write(dir.path().join(FILE), text).unwrap();
            let error = read(dir.path(), &mut Vec::new()).unwrap_err().to_string();
            assert!(error.contains(allowed), "{text}: {error}");
        }
    }

    #[test]
    fn every_key_is_read() {
        let (tuning, warnings) = tuning(
            "snapshot: {threshold: 1000, trailing: 8000, strategy: static}\n\
             network-latency: 25ms\nkine-compact-interval: 1m30s\n",
        );
        let strategy = Trailing::Static;
        let snapshot = SnapshotOptions {
            threshold: 1000,
            threshold_max: 1000,
            trailing: 8000,
            strategy,
        };
        assert_eq!(tuning.snapshot, Some(snapshot));
        assert_eq!(tuning.network_latency, Some(Duration::from_millis(25)));
        assert_eq!(tuning.compact_interval, Some(Duration::from_secs(90)));
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    #[test]
    fn snapshot_values_out_of_bounds_are_moved_and_remarked_on() {
        use Trailing::{Dynamic, Static};
        assert_eq!(
            snapshot("{threshold: 512, trailing: 1024}"),
            (512, 1024, Dynamic, 0)
        );
        assert_eq!(
            snapshot("{threshold: 0, trailing: 2048}"),
            (1536, 2048, Dynamic, 1)
        );
        assert_eq!(
            snapshot("{threshold: 10, trailing: 10}"),
            (384, 512, Dynamic, 2)
        );
        assert_eq!(
            snapshot("{threshold: 5000, trailing: 1024}"),
            (1024, 1024, Dynamic, 1)
        );
        assert_eq!(snapshot("{threshold: 1000}"), (1000, 4096, Dynamic, 0));
        assert_eq!(
            snapshot("{threshold: 512, strategy: STATIC}"),
            (512, 4096, Static, 0)
        );
        assert_eq!(
            snapshot("{threshold: 512, strategy: some}"),
            (512, 4096, Dynamic, 1)
        );
        let (_, trailing, _, warnings) = snapshot("{threshold: 512, trailing: 99999999999}");
        assert_eq!((trailing, warnings), (u32::MAX, 1));
    }

    #[test]
    fn durations_are_checked() {
        let (latency, warnings) = tuning("network-latency: 2h");
        assert_eq!(
            (latency.network_latency, warnings.len()),
            (Some(LATENCY_MAX), 1)
        );
        // Nanoseconds, as the Go server has it.
        let (latency, warnings) = tuning("network-latency: 25");
        assert_eq!(
            (latency.network_latency, warnings.len()),
            (Some(LATENCY_MIN), 1)
        );
        assert_eq!(tuning("network-latency: 0").0.network_latency, None);
        let (compact, warnings) = tuning("kine-compact-interval: 0s");
        assert_eq!((compact.compact_interval, warnings.len()), (None, 1));
        let (compact, warnings) = tuning("kine-compact-interval: 300000000000");
        assert_eq!(
            (compact.compact_interval, warnings.len()),
            (Some(DEFAULT_COMPACT_INTERVAL), 0)
        );
    }

    #[test]
    fn unknown_keys_and_keys_without_effect_are_warned_of_with_the_file() {
        let (_, warnings) =
            tuning("kine-poll-interval: 1s\nsnapshots: {}\nsnapshot: {thresold: 1}");
        let text = warnings.join("\n");
        for expected in [
            "kine-poll-interval has no effect",
            "\"snapshots\"",
            "\"snapshot.thresold\"",
        ] {
            assert!(text.contains(expected), "{text}");
        }
        assert!(
            warnings
                .iter()
                .all(|warning| warning.contains("/tuning.yaml: ")),
            "{text}"
        );
    }

    #[test]
    fn a_malformed_file_is_an_error_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        for (text, expected) in [
            (
                "snapshot: {trailing: 1}\nnetwork-latency: fast\n",
                "line 2: network-latency: \"fast\" is",
            ),
            ("snapshot: {threshold: -1}", "line 1: "),
            ("- a list", "line 1: "),
        ] {
            std::fs::write(dir.path().join(FILE), text).unwrap();
            let error = read(dir.path(), &mut Vec::new()).unwrap_err().to_string();
            assert!(
                error.contains("/tuning.yaml, ") && error.contains(expected),
                "{error}"
            );
        }
    }
}
