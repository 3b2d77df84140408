//! Whether the log and the snapshots in a directory belong together, judged by names and sizes.
//!
//! The engine refuses some damage with a word, ends the process on other, and deletes a snapshot whose
//! half is missing before it looks at the rest. So this comes first, and by the engine's own rules: what
//! it would load is not refused here (dqlite: src/raft/uv.c, `uvFilterSegments`; uv_segment.c,
//! `uvSegmentLoadAll`; uv_snapshot.c).

use std::{
    fs::{self, File},
    io,
    path::Path,
};

#[derive(Debug, Clone, PartialEq, Eq)]
struct FoundFile {
    name: String,
    len_bytes: u64,
}

/// What is wrong with the directory, in words, or `None`.
pub fn find_damage(dir: &Path) -> io::Result<Option<String>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if Kind::of(&name) == Kind::Other {
            continue;
        }
        let metadata = File::open(entry.path()).and_then(|file| file.metadata());
        match metadata {
            Ok(metadata) if metadata.is_file() => files.push(FoundFile {
                name,
                len_bytes: metadata.len(),
            }),
            Ok(_) => return Ok(Some(format!("{name} is not a file"))),
            Err(error) => return Ok(Some(format!("{name} cannot be read ({error})"))),
        }
    }
    Ok(judge(&files))
}

/// Bytes of the log and of the snapshots in a directory. Files come and go while a node runs.
pub fn engine_bytes(dir: &Path) -> io::Result<(u64, u64)> {
    let (mut log, mut snapshots) = (0, 0);
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let len = || entry.metadata().map_or(0, |metadata| metadata.len());
        match Kind::of(&name) {
            Kind::Closed { .. } | Kind::Open => log += len(),
            Kind::Snapshot(_) | Kind::Meta(_) => snapshots += len(),
            Kind::Other => {}
        }
    }
    Ok((log, snapshots))
}

/// Term, index and time, in the order in which the engine compares them.
type SnapshotId = (u64, u64, u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Closed { first: u64, last: u64 },
    Open,
    Snapshot(SnapshotId),
    Meta(SnapshotId),
    Other,
}

impl Kind {
    fn of(name: &str) -> Self {
        if let Some(counter) = name.strip_prefix("open-") {
            return number(counter).map_or(Self::Other, |_| Self::Open);
        }
        if let Some(rest) = name.strip_prefix("snapshot-") {
            return match rest.strip_suffix(".meta") {
                Some(rest) => snapshot_id(rest).map_or(Self::Other, Self::Meta),
                None => snapshot_id(rest).map_or(Self::Other, Self::Snapshot),
            };
        }
        let bounds = name.split_once('-').and_then(|(first, last)| {
            let is_index = |text: &str| text.len() == 16;
            let (first, last) = (is_index(first).then_some(first)?, last);
            Some((number(first)?, number(is_index(last).then_some(last)?)?))
        });
        bounds.map_or(Self::Other, |(first, last)| Self::Closed { first, last })
    }
}

fn number(text: &str) -> Option<u64> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_digits.then(|| text.parse().ok())?
}

fn snapshot_id(text: &str) -> Option<SnapshotId> {
    let mut parts = text.split('-').map(number);
    let id = (parts.next()??, parts.next()??, parts.next()??);
    parts.next().is_none().then_some(id)
}

struct Segment<'a> {
    file: &'a FoundFile,
    first: u64,
    last: u64,
}

fn judge(files: &[FoundFile]) -> Option<String> {
    let mut segments = Vec::new();
    let (mut snapshots, mut metas) = (Vec::new(), Vec::new());
    let mut has_open = false;
    for file in files {
        match Kind::of(&file.name) {
            Kind::Closed { first, last } => segments.push(Segment { file, first, last }),
            Kind::Open => has_open = true,
            Kind::Snapshot(id) => snapshots.push((id, file)),
            Kind::Meta(id) => metas.push((id, file)),
            Kind::Other => {}
        }
    }
    if let Some(odd) = segments.iter().find(|s| s.first == 0 || s.first > s.last) {
        return Some(format!(
            "{} is no name that a log segment can have",
            odd.file.name
        ));
    }
    segments.sort_by_key(|segment| segment.first);
    let meta_of = |id| metas.iter().find(|(meta, _)| *meta == id);
    let newest = snapshots
        .iter()
        .filter(|(id, file)| file.len_bytes > 0 && meta_of(*id).is_some())
        .max_by_key(|(id, _)| *id);
    let snapshot_index = newest.map_or(0, |((_, index, _), _)| *index);
    if let Some((id, file)) = newest
        && meta_of(*id).is_some_and(|(_, meta)| meta.len_bytes == 0)
    {
        return Some(format!("{}.meta is empty", file.name));
    }
    let loaded = loaded(&segments, newest.is_some(), snapshot_index, has_open);
    if let Some(empty) = loaded.iter().find(|segment| segment.file.len_bytes == 0) {
        return Some(format!("the log segment {} is empty", empty.file.name));
    }
    let mut next = snapshot_index + 1;
    for (at, segment) in loaded.iter().enumerate() {
        let fits = match at {
            0 if newest.is_some() => segment.first <= next,
            _ => segment.first == next,
        };
        if !fits {
            let after = match (at, newest) {
                (0, Some((_, file))) => format!("the newest whole snapshot, {},", file.name),
                (0, None) => "the beginning (there is no whole snapshot)".to_owned(),
                _ => format!("the segment {}", loaded[at - 1].file.name),
            };
            let halves = halves(&snapshots, &metas);
            let gap = if segment.first > next {
                format!("entries {next} to {} are missing", segment.first - 1)
            } else {
                format!("entries from {} on are there twice", segment.first)
            };
            return Some(format!(
                "the log segment {} does not follow {after}: {gap}{halves}",
                segment.file.name
            ));
        }
        next = segment.last + 1;
    }
    None
}

/// The segments that the engine would read, in order.
fn loaded<'a, 'b>(
    segments: &'b [Segment<'a>],
    has_snapshot: bool,
    snapshot_index: u64,
    has_open: bool,
) -> &'b [Segment<'a>] {
    let Some(newest) = segments.last().filter(|_| has_snapshot) else {
        return segments;
    };
    if newest.last < snapshot_index && !has_open {
        return &[];
    }
    let follows = |pair: &[Segment]| pair[0].last + 1 == pair[1].first;
    let breaks = segments.windows(2).rposition(|pair| !follows(pair));
    &segments[breaks.map_or(0, |at| at + 1)..]
}

/// The snapshots of which a part is missing: they are why entries are.
fn halves(snapshots: &[(SnapshotId, &FoundFile)], metas: &[(SnapshotId, &FoundFile)]) -> String {
    let has = |list: &[(SnapshotId, &FoundFile)], id| list.iter().any(|(other, _)| *other == id);
    let mut texts = Vec::new();
    for (id, file) in snapshots {
        if file.len_bytes == 0 {
            texts.push(format!("{} is empty", file.name));
        } else if !has(metas, *id) {
            texts.push(format!("{0} has no {0}.meta", file.name));
        }
    }
    for (id, file) in metas {
        if !has(snapshots, *id) {
            texts.push(format!("{} has lost its snapshot", file.name));
        }
    }
    match texts.is_empty() {
        true => String::new(),
        false => format!(" ({})", texts.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of which a leading `0:` says that the file is empty.
    fn damage(names: &[&str]) -> Option<String> {
        let file = |name: &&str| match name.strip_prefix("0:") {
            Some(name) => (name.to_owned(), 0),
            None => ((*name).to_owned(), 100),
        };
        let files = names.iter().map(file);
        let files = files.map(|(name, len_bytes)| FoundFile { name, len_bytes });
        judge(&files.collect::<Vec<_>>())
    }

    const FIRST: &str = "0000000000000001-0000000000000040";
    const SECOND: &str = "0000000000000041-0000000000000090";
    const THIRD: &str = "0000000000000091-0000000000000100";
    const SNAPSHOT: &str = "snapshot-1-60-1234";
    const META: &str = "snapshot-1-60-1234.meta";

    #[test]
    fn what_the_engine_loads_is_not_damaged() {
        for names in [
            &[][..],
            &["metadata1", "info.yaml"],
            &[FIRST, SECOND, "open-1", "0:open-2"],
            &[SECOND, THIRD, SNAPSHOT, META],
            // Older than the snapshot, with a hole: not needed.
            &[
                FIRST,
                THIRD,
                "snapshot-1-95-1234",
                "snapshot-1-95-1234.meta",
            ],
            &[FIRST, SNAPSHOT, META],
            &[FIRST, SECOND, SNAPSHOT],
            &[FIRST, SECOND, META],
            &[SNAPSHOT, META, "open-1"],
            &["corrupt-1-0000000000000091-0000000000000100", FIRST],
            &[
                SECOND,
                SNAPSHOT,
                META,
                "0:snapshot-1-99-1",
                "snapshot-1-99-1.meta",
            ],
        ] {
            assert_eq!(damage(names), None, "{names:?}");
        }
    }

    #[test]
    fn damage_is_told_in_words() {
        for (names, expected) in [
            (&[THIRD, SNAPSHOT, META][..], "entries 61 to 90 are missing"),
            (&[SECOND], "entries 1 to 40 are missing"),
            (
                &[SECOND, SNAPSHOT],
                "snapshot-1-60-1234 has no snapshot-1-60-1234.meta",
            ),
            (&[SECOND, META], "has lost its snapshot"),
            (
                &[SECOND, META, "0:snapshot-1-60-1234"],
                "snapshot-1-60-1234 is empty",
            ),
            (
                &[SECOND, SNAPSHOT, "0:snapshot-1-60-1234.meta"],
                ".meta is empty",
            ),
            (
                &[FIRST, "0:0000000000000041-0000000000000090"],
                "0090 is empty",
            ),
            (&[FIRST, THIRD], "entries 41 to 90 are missing"),
            (&["0000000000000009-0000000000000004"], "no name"),
        ] {
            let found = damage(names).unwrap();
            assert!(found.contains(expected), "{names:?}: {found}");
        }
    }
}
