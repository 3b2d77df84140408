//! Names of files in the engine's directory (dqlite: src/raft/uv.h, uv_list.c, uv_segment.c,
//! uv_snapshot.c).
//!
//! The engine reads names with `sscanf`, which also takes what it never writes: shorter numbers,
//! signs, spaces. Such a name is a [`FileName::Lookalike`]: the engine would load it, so it matters.

/// Longer names are invisible to the engine (dqlite: src/raft/uv_os.h, `UV__FILENAME_LEN`).
const NAME_BYTES_MAX: usize = 127;

/// The parts of a snapshot's name, in the order in which the engine compares snapshots: the greatest is the one that it
/// loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotId {
    pub term: u64,
    pub index: u64,
    pub timestamp_ms: u64,
}

impl SnapshotId {
    pub fn data_name(self) -> String {
        format!(
            "snapshot-{}-{}-{}",
            self.term, self.index, self.timestamp_ms
        )
    }

    pub fn meta_name(self) -> String {
        format!("{}.meta", self.data_name())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileName {
    /// The first or the second of them.
    Metadata(usize),
    Closed {
        first: u64,
        last: u64,
    },
    Open {
        counter: u64,
    },
    Snapshot(SnapshotId),
    SnapshotMeta(SnapshotId),
    /// Deleted by the engine when it starts.
    Temporary,
    /// The engine never writes this name and would take it for one of its own.
    Lookalike,
    Other,
}

impl FileName {
    pub fn parse(name: &str) -> Self {
        match name {
            _ if name.len() > NAME_BYTES_MAX => Self::Other,
            "metadata1" => Self::Metadata(0),
            "metadata2" => Self::Metadata(1),
            _ if name.starts_with("tmp-") => Self::Temporary,
            _ => match Self::as_the_engine_reads(name.as_bytes()) {
                Some(found) if found.written() == name => found,
                Some(_) => Self::Lookalike,
                None => Self::Other,
            },
        }
    }

    fn as_the_engine_reads(name: &[u8]) -> Option<Self> {
        if let Some(rest) = name.strip_prefix(b"snapshot-") {
            let (term, rest) = scan(rest, usize::MAX)?;
            let (index, rest) = scan(rest.strip_prefix(b"-")?, usize::MAX)?;
            let (timestamp_ms, rest) = scan(rest.strip_prefix(b"-")?, usize::MAX)?;
            let id = SnapshotId {
                term,
                index,
                timestamp_ms,
            };
            return match rest {
                b"" => Some(Self::Snapshot(id)),
                b".meta" => Some(Self::SnapshotMeta(id)),
                _ => None,
            };
        }
        if let Some(rest) = name.strip_prefix(b"open-") {
            let (counter, rest) = scan(rest, usize::MAX)?;
            return rest.is_empty().then_some(Self::Open { counter });
        }
        let (first, rest) = scan(name, 16)?;
        let (last, rest) = scan(rest.strip_prefix(b"-")?, 16)?;
        rest.is_empty().then_some(Self::Closed { first, last })
    }

    fn written(self) -> String {
        match self {
            Self::Closed { first, last } => format!("{first:016}-{last:016}"),
            Self::Open { counter } => format!("open-{counter}"),
            Self::Snapshot(id) => id.data_name(),
            Self::SnapshotMeta(id) => id.meta_name(),
            Self::Metadata(_) | Self::Temporary | Self::Lookalike | Self::Other => String::new(),
        }
    }
}

/// `%llu` with a width: white space, a sign, digits; too large a number becomes the largest.
fn scan(text: &[u8], width: usize) -> Option<(u64, &[u8])> {
    let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let start = text.iter().position(|byte| !is_space(byte))?;
    let text = &text[start..];
    let sign = usize::from(matches!(text.first(), Some(b'+' | b'-')));
    let end = text[sign..]
        .iter()
        .take(width.saturating_sub(sign))
        .take_while(|byte| byte.is_ascii_digit())
        .count()
        + sign;
    if end == sign {
        return None;
    }
    let digits = std::str::from_utf8(&text[sign..end]).ok()?;
    Some((digits.parse().unwrap_or(u64::MAX), &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_engine() {
        let id = SnapshotId {
            term: 3,
            index: 512,
            timestamp_ms: 99,
        };
        for (name, expected) in [
            ("metadata1", FileName::Metadata(0)),
            ("open-7", FileName::Open { counter: 7 }),
            (
                "0000000000000001-0000000000000040",
                FileName::Closed { first: 1, last: 40 },
            ),
            ("snapshot-3-512-99", FileName::Snapshot(id)),
            ("snapshot-3-512-99.meta", FileName::SnapshotMeta(id)),
            ("tmp-snapshot-3-512-99.meta", FileName::Temporary),
        ] {
            assert_eq!(FileName::parse(name), expected, "{name}");
        }
    }

    #[test]
    fn names_that_the_engine_takes_for_its_own() {
        for name in [
            "open-07",
            "open-+7",
            "open- 7",
            "1-40",
            "000000000000001-0000000000000040",
            "0000000000000001- 000000000000040",
            "snapshot-03-512-99",
            "snapshot-3-512--99.meta",
            "open-99999999999999999999",
        ] {
            assert_eq!(FileName::parse(name), FileName::Lookalike, "{name}");
        }
    }

    #[test]
    fn names_that_mean_nothing_to_the_engine() {
        for name in [
            "info.yaml",
            "open-",
            "open-1.bak",
            "0000000000000001-0000000000000040.old",
            "00000000000000001-0000000000000040",
            "snapshot-1-2-3.meta.bak",
            "corrupt-1-open-1",
            "",
        ] {
            assert_eq!(FileName::parse(name), FileName::Other, "{name}");
        }
    }
}
