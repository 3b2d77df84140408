//! Cuts the damaged part of a log off, which only an operator may order.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    path::Path,
};

use super::{DirLock, LastEntry, NodeError, check, find_damage, mark};
use crate::{
    files::{remove_if_there, sync_dir},
    log::{
        self, Directory,
        cut::{Change, Cut},
    },
};

/// The name of a shorter segment while it is written. The engine deletes files with such names.
const SCRATCH: &str = "tmp-cut";

/// The entries and files that would be given up. Nothing is changed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedCut {
    cut: Cut,
    /// The damage, in words.
    pub reason: String,
    /// The last entry that would be left.
    pub end: LastEntry,
    /// The last one that is known to have been there; there may have been more.
    pub last_known: u64,
}

/// Finds what has to be cut so that the rest is valid; `None` if nothing is damaged.
///
/// # Errors
///
/// [`NodeError::Damaged`] where nothing would be left, a whole file is of another log, or the term and the vote are
/// damaged: a node without them could vote twice.
pub fn plan_cut(lock: &DirLock) -> Result<Option<PlannedCut>, NodeError> {
    let dir = lock.dir();
    let Some(reason) = find_damage(dir)? else {
        return Ok(None);
    };
    let mark = match check::read_mark(dir) {
        Err(NodeError::Damaged { .. }) => None,
        read => read?,
    };
    let is_foreign = |open: &log::OpenReport| {
        let checked = mark.as_ref().map(|mark| mark::check_open(mark, open));
        checked.is_some_and(|checked| checked.is_err())
    };
    let cut = log::cut::plan(&Directory(dir), is_foreign);
    let cut = cut.map_err(|error| check::of_log(dir, error))?;
    if cut.report.configuration.is_none() {
        return Err(NodeError::Damaged {
            dir: dir.to_owned(),
            reason: format!("{reason}; nothing would be left"),
        });
    }
    // What is left would be another log's, and nothing says where its own ends.
    if let Some(mark) = &mark {
        check::check_content(dir, mark, &cut.report)?;
    }
    Ok(Some(PlannedCut {
        reason,
        end: LastEntry {
            term: cut.report.last_term,
            index: cut.report.last_index,
        },
        last_known: cut.last_known.max(mark.map_or(0, |mark| mark.last_index)),
        cut,
    }))
}

impl PlannedCut {
    /// Changes the directory. Interrupted, it is done again by another plan. The mark goes: the log ends before it.
    pub fn apply(&self, lock: &DirLock) -> Result<(), NodeError> {
        let dir = lock.dir();
        let applied = self.cut.changes.iter().try_for_each(|c| change(dir, c));
        let applied = applied
            .and_then(|()| sync_dir(dir))
            .and_then(|()| remove_if_there(&dir.join(mark::FILE_NAME)).map(drop))
            .and_then(|()| sync_dir(dir));
        applied.map_err(|source| NodeError::Directory {
            dir: dir.to_owned(),
            source,
        })
    }
}

fn change(dir: &Path, change: &Change) -> io::Result<()> {
    match change {
        Change::Remove(name) => remove_if_there(&dir.join(name)).map(drop),
        Change::Shorten {
            name,
            to,
            len_bytes,
        } => {
            let mut from = File::open(dir.join(name))?.take(*len_bytes);
            let mut file = File::create(dir.join(SCRATCH))?;
            io::copy(&mut from, &mut file)?;
            file.sync_all()?;
            fs::rename(dir.join(SCRATCH), dir.join(to))?;
            sync_dir(dir)?;
            remove_if_there(&dir.join(name)).map(drop)
        }
        Change::Clear { name, from_byte } => {
            let file = OpenOptions::new().write(true).open(dir.join(name))?;
            let len_bytes = file.metadata()?.len();
            file.set_len(*from_byte)?;
            file.set_len(len_bytes)?;
            file.sync_all()
        }
    }
}
