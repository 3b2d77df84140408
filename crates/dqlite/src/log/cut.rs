//! Finds what has to go from a damaged directory so that the rest is whole. Changes nothing.
//!
//! From the first damage on, everything is given up: the entries behind it would have none to follow. A damaged
//! snapshot goes as a whole, and everything with it, unless an older snapshot and the log reach as far. Each step is
//! judged by reading the remaining files as if there were no others.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read},
    path::PathBuf,
};

use super::{
    damage::{Damage, DamageKind, Error, Lost},
    name::FileName,
    plan::FoundFile,
    report::{OpenReport, Report},
    segment::whole_before,
    verify::{Files, verify},
};

/// One change of a directory. In their order they leave, wherever they are interrupted, what can be cut again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Remove(String),
    /// A closed segment keeps its first bytes, under the name that says what is left.
    Shorten {
        name: String,
        to: String,
        len_bytes: u64,
    },
    /// An open segment has zeros from this byte on.
    Clear {
        name: String,
        from_byte: u64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    pub changes: Vec<Change>,
    /// The report on the directory after the changes.
    pub report: Report,
    /// The last entry that names or damage speak of; there may have been more.
    pub last_known: u64,
}

/// Finds out what to change. `is_foreign` tells open segments that belong to no log of this directory.
///
/// # Errors
///
/// [`Error::Damaged`] where nothing would be left, or where the damage is not one of the log.
pub fn plan(files: &impl Files, is_foreign: impl Fn(&OpenReport) -> bool) -> Result<Cut, Error> {
    let listed = files.list()?;
    let mut left = Left {
        files,
        last_known: listed.iter().map(last_named).max().unwrap_or(0),
        steps: 2 * listed.len() + 2,
        removed: BTreeSet::new(),
        shortened: BTreeMap::new(),
        cleared: BTreeMap::new(),
    };
    loop {
        match verify(&left) {
            Err(Error::Damaged(damage)) => left.give_up(damage)?,
            Err(error) => return Err(error),
            Ok(report) => {
                let mut used = report.open.iter().filter(|open| open.entries.is_some());
                match used.find(|open| is_foreign(open)) {
                    Some(open) => left.remove_open(open.counter)?,
                    None => return Ok(left.finish(report)),
                }
            }
        }
    }
}

fn last_named(file: &FoundFile) -> u64 {
    match FileName::parse(&file.name) {
        FileName::Closed { last, .. } => last,
        FileName::Snapshot(id) => id.index,
        _ => 0,
    }
}

fn closed_name(first: u64, last: u64) -> String {
    format!("{first:016}-{last:016}")
}

/// The directory as it would be.
struct Left<'a, F> {
    files: &'a F,
    last_known: u64,
    /// Changes that may still be made: a bound for what has no end.
    steps: usize,
    removed: BTreeSet<String>,
    /// The old name and the length of each shortened file, by its new name.
    shortened: BTreeMap<String, (String, u64)>,
    cleared: BTreeMap<String, u64>,
}

impl<F: Files> Left<'_, F> {
    fn give_up(&mut self, damage: Box<Damage>) -> Result<(), Error> {
        let Some(steps) = self.steps.checked_sub(1) else {
            return Err(damage.into());
        };
        self.steps = steps;
        if let Lost::Entries(range) = &damage.lost {
            self.last_known = self.last_known.max(*range.end());
        }
        match FileName::parse(&damage.file) {
            FileName::Snapshot(id) | FileName::SnapshotMeta(id) => {
                let both = [id.data_name(), id.meta_name()];
                self.remove_all(|name| both.iter().any(|one| one == name))?;
            }
            FileName::Closed { first, .. } => {
                let (entries, len_bytes) = self.whole_before(&damage)?;
                let former = self.shortened.get(&damage.file);
                let name = former.map_or(damage.file.clone(), |(name, _)| name.clone());
                let behind = |name: &str| match FileName::parse(name) {
                    FileName::Closed { first: other, .. } => other >= first,
                    FileName::Open { .. } => true,
                    _ => false,
                };
                self.remove_all(behind)?;
                if entries > 0 {
                    let to = closed_name(first, first + entries - 1);
                    self.shortened.insert(to, (name, len_bytes));
                }
            }
            FileName::Open { counter } => {
                if matches!(damage.kind, DamageKind::EndsEarly { .. }) {
                    return self.remove_open(counter + 1);
                }
                let (entries, len_bytes) = self.whole_before(&damage)?;
                let was_cleared = self.cleared.insert(damage.file, len_bytes);
                self.remove_open(counter + 1)?;
                if entries == 0 || was_cleared == Some(len_bytes) {
                    self.remove_open(counter)?;
                }
            }
            _ => return Err(damage.into()),
        }
        Ok(())
    }

    /// Returns the number of whole entries of the damaged file before the damage, and the offset of their end.
    fn whole_before(&self, damage: &Damage) -> Result<(u64, u64), Error> {
        let limit = match (damage.offset, &damage.kind) {
            (Some(offset), _) => offset,
            (None, DamageKind::Count { found, expected }) if found < expected => u64::MAX,
            (None, _) => return Ok((0, 0)),
        };
        let mut bytes = Vec::new();
        let read = self
            .open(&damage.file)
            .and_then(|mut file| file.read_to_end(&mut bytes));
        read.map_err(|source| Error::Unreadable {
            path: self.path(&damage.file),
            source,
        })?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let (entries, len) = whole_before(&bytes, limit);
        Ok((entries, len as u64))
    }

    fn remove_open(&mut self, from: u64) -> Result<(), Error> {
        self.remove_all(|name| match FileName::parse(name) {
            FileName::Open { counter } => counter >= from,
            _ => false,
        })
    }

    fn remove_all(&mut self, is_removed: impl Fn(&str) -> bool) -> Result<(), Error> {
        let names = self.list()?.into_iter().map(|file| file.name);
        let names: Vec<String> = names.filter(|name| is_removed(name)).collect();
        self.remove(&names);
        Ok(())
    }

    fn remove(&mut self, names: &[String]) {
        for name in names {
            self.cleared.remove(name);
            // Under its old name it is still there.
            let name = match self.shortened.remove(name) {
                Some((old, _)) => old,
                None => name.clone(),
            };
            self.removed.insert(name);
        }
    }

    fn finish(self, report: Report) -> Cut {
        let mut changes = Vec::new();
        let is_replaced = |name: &String| self.shortened.values().any(|(old, _)| old == name);
        // The last ones first.
        let removed = self.removed.iter().rev();
        changes.extend(
            removed
                .filter(|name| !is_replaced(name))
                .cloned()
                .map(Change::Remove),
        );
        changes.extend(
            self.shortened
                .into_iter()
                .map(|(to, (name, len_bytes))| Change::Shorten {
                    name,
                    to,
                    len_bytes,
                }),
        );
        changes.extend(
            self.cleared
                .into_iter()
                .map(|(name, from_byte)| Change::Clear { name, from_byte }),
        );
        Cut {
            changes,
            last_known: self.last_known.max(report.last_index),
            report,
        }
    }
}

impl<F: Files> Files for Left<'_, F> {
    fn list(&self) -> Result<Vec<FoundFile>, Error> {
        let mut files = self.files.list()?;
        files.retain(|file| !self.removed.contains(&file.name));
        files.extend(
            self.shortened
                .iter()
                .map(|(name, (_, len_bytes))| FoundFile {
                    name: name.clone(),
                    len_bytes: *len_bytes,
                    is_file: true,
                }),
        );
        Ok(files)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + '_>> {
        if let Some((old, len_bytes)) = self.shortened.get(name) {
            return Ok(Box::new(self.files.open(old)?.take(*len_bytes)));
        }
        let file = self.files.open(name)?;
        let Some(from_byte) = self.cleared.get(name) else {
            return Ok(file);
        };
        let listed = self.files.list().map_err(io::Error::other)?;
        let len_bytes = listed.iter().find(|file| file.name == name);
        let len_bytes = len_bytes.map_or(*from_byte, |file| file.len_bytes);
        let zeros = io::repeat(0).take(len_bytes.saturating_sub(*from_byte));
        Ok(Box::new(file.take(*from_byte).chain(zeros)))
    }

    fn path(&self, name: &str) -> PathBuf {
        let name = self.shortened.get(name).map_or(name, |(old, _)| old);
        self.files.path(name)
    }
}

#[cfg(test)]
#[path = "cut_tests.rs"]
mod tests;
