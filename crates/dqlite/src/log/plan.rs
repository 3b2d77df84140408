//! Decides which files the engine will load, by names and sizes alone (dqlite: src/raft/uv_list.c; uv.c,
//! `uvMaintenance`, `uvFilterSegments`, `uvLoadSnapshotAndEntries`).
//!
//! The engine first deletes temporary files and halves of snapshots. Then it takes the greatest
//! snapshot that has both of its files, the second not empty. With a snapshot it takes the last closed
//! segments that follow one another, and none if all of them are behind the snapshot and no segment
//! is open; without one it takes all, which have to begin with entry 1. Open segments follow in the
//! order of their numbers.

use super::{
    damage::{Damage, DamageKind, Fault, Lost},
    name::{FileName, SnapshotId},
};

/// libuv counts what it has written in an `int`, so the engine cannot have made a larger segment.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 31;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    pub name: String,
    pub len_bytes: u64,
    pub is_file: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedFile {
    pub name: String,
    pub first: u64,
    pub last: u64,
    pub len_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenFile {
    pub name: String,
    pub counter: u64,
    pub len_bytes: u64,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Plan {
    pub has_metadata: [bool; 2],
    pub snapshot: Option<SnapshotId>,
    pub older_snapshots: Vec<SnapshotId>,
    /// Files of snapshots whose other half is missing or empty, with what they would hold. Only the
    /// data prove that there was a whole one: the other half is written first.
    pub halves: Vec<Half>,
    /// The closed segments to load, in the order of their entries.
    pub closed: Vec<ClosedFile>,
    /// Closed segments of which nothing is needed any more.
    pub behind: Vec<ClosedFile>,
    pub open: Vec<OpenFile>,
    pub temporary: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Half {
    pub name: String,
    pub id: SnapshotId,
    pub has_data_file: bool,
}

impl Plan {
    pub fn new(files: &[FoundFile]) -> Result<Self, Box<Damage>> {
        let mut plan = Self::sorted(files)?;
        plan.pair_snapshots(files);
        plan.choose_segments()?;
        Ok(plan)
    }

    /// Returns whether there are files other than metadata.
    pub fn has_data(&self) -> bool {
        self.snapshot.is_some()
            || self.halves.iter().any(|half| half.has_data_file)
            || !(self.closed.is_empty() && self.behind.is_empty() && self.open.is_empty())
    }

    pub fn snapshot_index(&self) -> u64 {
        self.snapshot.map_or(0, |id| id.index)
    }

    /// The index of the first entry that is loaded.
    pub fn first_index(&self) -> u64 {
        let after_snapshot = self.snapshot_index() + 1;
        self.closed
            .first()
            .map_or(after_snapshot, |file| file.first)
    }

    /// The index of the first entry of the open segments.
    pub fn open_index(&self) -> u64 {
        let after_snapshot = self.snapshot_index() + 1;
        self.closed
            .last()
            .map_or(after_snapshot, |file| file.last + 1)
    }

    /// The last index that any name speaks of.
    pub fn last_named_index(&self) -> u64 {
        let closed = self.closed.iter().chain(&self.behind).map(|file| file.last);
        let halves = self.halves.iter().map(|half| half.id.index);
        closed
            .chain(halves)
            .chain([self.snapshot_index()])
            .max()
            .unwrap_or(0)
    }

    fn sorted(files: &[FoundFile]) -> Result<Self, Box<Damage>> {
        let mut plan = Self::default();
        for file in files {
            let (name, len_bytes) = (file.name.clone(), file.len_bytes);
            let parsed = FileName::parse(&name);
            let damage = |kind| Err(Fault::of_file(kind).into_damage(&file.name, Lost::Unknown));
            if !file.is_file && !matches!(parsed, FileName::Other | FileName::Temporary) {
                return damage(DamageKind::NotAFile);
            }
            match parsed {
                FileName::Metadata(which) => plan.has_metadata[which] = true,
                FileName::Closed { .. } | FileName::Open { .. }
                    if len_bytes > SEGMENT_BYTES_MAX =>
                {
                    return damage(DamageKind::TooLarge);
                }
                FileName::Closed { first, last } => {
                    if first == 0 || first > last {
                        return damage(DamageKind::StrangeName);
                    }
                    plan.closed.push(ClosedFile {
                        name,
                        first,
                        last,
                        len_bytes,
                    });
                }
                FileName::Open { counter: 0 } => {
                    return damage(DamageKind::StrangeName);
                }
                FileName::Open { counter } => plan.open.push(OpenFile {
                    name,
                    counter,
                    len_bytes,
                }),
                FileName::Snapshot(id) | FileName::SnapshotMeta(id)
                    if id.term == 0 || id.index == 0 || id.index == u64::MAX =>
                {
                    return damage(DamageKind::StrangeName);
                }
                FileName::Lookalike => return damage(DamageKind::StrangeName),
                FileName::Temporary => plan.temporary.push(name),
                FileName::Snapshot(_) | FileName::SnapshotMeta(_) | FileName::Other => {}
            }
        }
        plan.closed.sort_by_key(|file| (file.first, file.last));
        plan.open.sort_by_key(|file| file.counter);
        plan.temporary.sort();
        Ok(plan)
    }

    fn pair_snapshots(&mut self, files: &[FoundFile]) {
        let (mut data, mut metas) = (Vec::new(), Vec::new());
        for file in files {
            match FileName::parse(&file.name) {
                FileName::Snapshot(id) => data.push((id, file.len_bytes > 0)),
                FileName::SnapshotMeta(id) => metas.push(id),
                _ => {}
            }
        }
        let has_meta = |id: &SnapshotId| metas.contains(id);
        let mut whole: Vec<_> = data
            .iter()
            .filter(|(id, has_content)| *has_content && has_meta(id))
            .map(|(id, _)| *id)
            .collect();
        whole.sort();
        self.snapshot = whole.pop();
        self.older_snapshots = whole;
        for (id, has_content) in &data {
            if !has_content || !has_meta(id) {
                self.halves.push(Half {
                    name: id.data_name(),
                    id: *id,
                    has_data_file: true,
                });
            }
        }
        for id in &metas {
            if !data.iter().any(|(other, _)| other == id) {
                self.halves.push(Half {
                    name: id.meta_name(),
                    id: *id,
                    has_data_file: false,
                });
            }
        }
        self.halves.sort_by_key(|half| half.id);
    }

    fn choose_segments(&mut self) -> Result<(), Box<Damage>> {
        let snapshot_index = self.snapshot_index();
        for pair in self.closed.windows(2) {
            if pair[1].first <= pair[0].last && pair[0].last.max(pair[1].last) > snapshot_index {
                let with = pair[0].name.clone();
                let lost = Lost::From(pair[1].first);
                return Err(
                    Fault::of_file(DamageKind::Overlap { with }).into_damage(&pair[1].name, lost)
                );
            }
        }
        let is_behind = self.closed.iter().all(|file| file.last < snapshot_index);
        if is_behind {
            self.behind = std::mem::take(&mut self.closed);
            return Ok(());
        }
        if self.snapshot.is_some() {
            let breaks = |pair: &[ClosedFile]| pair[0].last + 1 != pair[1].first;
            let at = self.closed.windows(2).rposition(breaks);
            let needed = self.closed.split_off(at.map_or(0, |at| at + 1));
            self.behind = std::mem::replace(&mut self.closed, needed);
        }
        let mut next = match self.snapshot {
            Some(_) => self.first_index().min(snapshot_index + 1),
            None => 1,
        };
        for file in &self.closed {
            if file.first != next {
                return Err(self.gap(&file.name, next, file.first - 1));
            }
            next = file.last.saturating_add(1);
        }
        Ok(())
    }

    /// The entries between are missing before this file.
    pub fn gap(&self, file: &str, first: u64, last: u64) -> Box<Damage> {
        let kind = DamageKind::Gap { after: first - 1 };
        let mut damage = Fault::of_file(kind).into_damage(file, Lost::Entries(first..=last));
        damage.related = self.halves.iter().map(|half| half.name.clone()).collect();
        damage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of which a leading `0:` says that the file is empty.
    fn plan(names: &[&str]) -> Result<Plan, Box<Damage>> {
        let file = |name: &&str| FoundFile {
            name: name.trim_start_matches("0:").to_owned(),
            len_bytes: if name.starts_with("0:") { 0 } else { 100 },
            is_file: true,
        };
        Plan::new(&names.iter().map(file).collect::<Vec<_>>())
    }

    const FIRST: &str = "0000000000000001-0000000000000040";
    const SECOND: &str = "0000000000000041-0000000000000090";
    const THIRD: &str = "0000000000000091-0000000000000100";
    const SNAPSHOT: &str = "snapshot-1-60-1234";
    const META: &str = "snapshot-1-60-1234.meta";

    #[test]
    fn the_engine_loads_what_follows_the_snapshot() {
        for (names, first, open) in [
            (&[][..], 1, 1),
            (&[FIRST, SECOND, "open-1", "0:open-2"], 1, 91),
            (&[SECOND, THIRD, SNAPSHOT, META], 41, 101),
            (&[FIRST, SECOND, THIRD, SNAPSHOT, META], 1, 101),
            // Half a snapshot is none.
            (&[FIRST, SECOND, SNAPSHOT], 1, 91),
            (&[FIRST, SECOND, META], 1, 91),
            (&[FIRST, SECOND, "0:snapshot-1-60-1234", META], 1, 91),
            // Nothing of the log is needed, or there is none.
            (&[FIRST, SNAPSHOT, META], 61, 61),
            (&[SNAPSHOT, META, "open-1"], 61, 61),
            // A hole behind the snapshot costs nothing.
            (
                &[
                    FIRST,
                    THIRD,
                    "snapshot-1-95-1234",
                    "snapshot-1-95-1234.meta",
                ],
                91,
                101,
            ),
        ] {
            let plan = plan(names).unwrap();
            assert_eq!(
                (plan.first_index(), plan.open_index()),
                (first, open),
                "{names:?}"
            );
        }
    }

    #[test]
    fn gaps_and_overlaps_are_named() {
        for (names, file, lost) in [
            (&[THIRD, SNAPSHOT, META][..], THIRD, Lost::Entries(61..=90)),
            (&[SECOND], SECOND, Lost::Entries(1..=40)),
            (&[FIRST, THIRD], THIRD, Lost::Entries(41..=90)),
            (
                &[FIRST, SECOND, "0000000000000041-0000000000000070"],
                SECOND,
                Lost::From(41),
            ),
            (
                &["0000000000000009-0000000000000004"],
                "0000000000000009-0000000000000004",
                Lost::Unknown,
            ),
            (&["open-01"], "open-01", Lost::Unknown),
        ] {
            let damage = plan(names).unwrap_err();
            assert_eq!(
                (damage.file.as_str(), &damage.lost),
                (file, &lost),
                "{damage}"
            );
        }
        let damage = plan(&[SECOND, SNAPSHOT]).unwrap_err().to_string();
        assert!(
            damage.ends_with("(see also snapshot-1-60-1234)"),
            "{damage}"
        );
    }

    #[test]
    fn the_engine_loads_the_greatest_whole_snapshot() {
        let older = ["snapshot-1-30-9", "snapshot-1-30-9.meta"];
        let halves = ["snapshot-2-99-1.meta", "0:snapshot-1-98-1"];
        let names = [&older[..], &halves, &[SNAPSHOT, META]].concat();
        let plan = plan(&names).unwrap();
        assert_eq!(plan.snapshot.unwrap().index, 60);
        assert_eq!(plan.older_snapshots.len(), 1);
        let halves: Vec<_> = plan.halves.iter().map(|half| half.id.index).collect();
        assert_eq!(halves, [98, 99]);
    }
}
