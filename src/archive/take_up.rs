//! Finds where the archive ends, and whether this store continues it.

use std::ops::ControlFlow;

use archive::{Delta, DeltaName, End, Listing, Objects};
use change_batch::ChangeRef;
use etcd_state::mvcc::{Change, Revision};

use super::ArchiveError;
use crate::store::Store;

/// The deltas after the newest base.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SinceBase {
    pub deltas: u64,
    pub bytes: u64,
    pub base_bytes: u64,
}

impl SinceBase {
    fn of(listing: &Listing) -> Self {
        let Some((base, base_bytes)) = listing.bases.last_key_value() else {
            return Self::default();
        };
        let after = DeltaName {
            first: base.revision.next(),
            number: 0,
        };
        let deltas = listing.deltas.range(after..);
        Self {
            deltas: deltas.clone().count() as u64,
            bytes: deltas.map(|(_, bytes)| bytes).sum(),
            base_bytes: *base_bytes,
        }
    }
}

/// The result of comparing changes of the archive with those of this store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    Same,
    /// Nothing is left to compare: it was compacted, or the archive has only bases. The store may have been put back.
    Unknown,
}

/// An archive of this cluster, which this store continues.
#[derive(Debug, Clone, Copy)]
pub struct TakenUp {
    pub end: End,
    pub since_base: SinceBase,
    pub history: History,
}

/// Finds the end of the archive, and checks that it is one of this store. None if there is no archive yet.
pub async fn take_up(store: &Store, objects: &Objects) -> Result<Option<TakenUp>, ArchiveError> {
    let listing = objects.list().await?;
    let Some((mut name, _)) = listing.deltas.last_key_value().map(|(n, b)| (*n, *b)) else {
        return Ok(None);
    };
    let (mut delta, digest) = objects.delta(name).await?;
    let mut end = End::at(name, &delta.header, digest)?;
    // A list may be late.
    while objects.has_delta(end.next).await? {
        name = end.next;
        let (next, digest) = objects.delta(name).await?;
        end = end.follow(name, &next.header, digest)?;
        delta = next;
    }
    let own = store.cluster_id();
    if end.cluster_id != own {
        let found = end.cluster_id;
        return Err(ArchiveError::Foreign { own, found });
    }
    // Whatever other nodes have archived was committed before.
    store.linearize().await?;
    let head = store.revision();
    if !store.leads() {
        return Err(ArchiveError::NotLeading);
    }
    if end.last > head {
        let last = end.last;
        return Err(ArchiveError::Ahead { head, last });
    }
    let mut earlier = with_revisions(&listing, name);
    while delta.batches.is_empty() {
        let Some(name) = earlier.next() else { break };
        (delta, _) = objects.delta(name).await?;
        // What is older was compacted, too.
        if delta.header.last <= store.history().compact_revision() {
            break;
        }
    }
    Ok(Some(TakenUp {
        end,
        since_base: SinceBase::of(&listing),
        history: check_changes(store, &delta)?,
    }))
}

/// Returns the deltas before one that have revisions, the newest first, as the names tell: the one after begins with a later
/// revision. Leases alone and bases that continue the revisions are passed over, however many there are.
fn with_revisions(listing: &Listing, before: DeltaName) -> impl Iterator<Item = DeltaName> {
    let mut after = before;
    let earlier = listing.deltas.range(..before).rev();
    earlier.filter_map(move |(name, _)| {
        let following = std::mem::replace(&mut after, *name);
        (following.first > name.first).then_some(*name)
    })
}

/// Compares the changes of a delta with those that this store still knows.
fn check_changes(store: &Store, delta: &Delta) -> Result<History, ArchiveError> {
    if delta.batches.is_empty() {
        return Ok(History::Unknown);
    }
    let history = store.history();
    let (first, last) = (delta.header.first(), delta.header.last);
    // Of what was compacted, not all is there.
    let from = first
        .max(history.compact_revision().next())
        .max(Revision::FIRST);
    if from > last {
        return Ok(History::Unknown);
    }
    let name = delta.header.name;
    let damaged = |source| archive::ObjectError::Delta { name, source };
    let count = delta.check_changes().map_err(damaged)?;
    let count = usize::try_from(count).map_or(usize::MAX, |count| count.saturating_add(1));
    // It was compacted just now: then it is as if that had happened before.
    let Ok(commits) = history.commits_from(from, count) else {
        return Ok(History::Unknown);
    };
    let commits = commits.iter().take_while(|commit| commit.revision <= last);
    let mut own = commits.flat_map(|commit| &commit.changes);
    let (mut differs, mut compared) = (None, 0);
    let read = delta.changes(|archived| {
        if archived.revision < from {
            return ControlFlow::Continue(());
        }
        compared += 1;
        match own.next() {
            Some(change) if is_same(change, &archived) => ControlFlow::Continue(()),
            _ => {
                differs = Some(archived.revision);
                ControlFlow::Break(())
            }
        }
    });
    read.map_err(damaged)?;
    let differs = differs.or_else(|| own.next().map(|change| change.kv.mod_revision));
    match differs {
        Some(revision) => Err(ArchiveError::Diverged { revision }),
        None if compared == 0 => Ok(History::Unknown),
        None => Ok(History::Same),
    }
}

fn is_same(own: &Change, archived: &ChangeRef<'_>) -> bool {
    let kv = &own.kv;
    own.kind == archived.kind
        && kv.row_id() == archived.row_id()
        && kv.key == archived.key
        && kv.value == archived.value
        && (kv.create_revision, kv.version, kv.lease)
            == (archived.create_revision, archived.version, archived.lease)
}

#[cfg(test)]
mod tests {
    use archive::ObjectName;

    use super::*;

    #[test]
    fn deltas_that_have_revisions_are_known_by_the_names() {
        let name = |first, number| DeltaName {
            first: Revision::new(first),
            number,
        };
        let mut listing = Listing::default();
        listing.insert(ObjectName::Delta(name(1, 0)), 1);
        listing.insert(ObjectName::Delta(name(5, 0)), 1);
        // Leases alone, more often than a bound would allow, and then changes.
        for number in 0..40 {
            listing.insert(ObjectName::Delta(name(9, number)), 1);
        }
        listing.insert(ObjectName::Delta(name(12, 0)), 1);
        listing.insert(ObjectName::Delta(name(12, 1)), 1);
        let found = |before| with_revisions(&listing, before).collect::<Vec<_>>();
        let all = [name(9, 39), name(5, 0), name(1, 0)];
        assert_eq!(found(name(12, 1)), all);
        assert_eq!(found(name(9, 39)), all[1..]);
        assert_eq!(found(name(1, 0)), []);
    }
}
