//! Finds where the archive ends, and whether this store continues it.

use std::ops::ControlFlow;

use archive::{Delta, DeltaName, End, Kind, Listing, Objects};
use change_batch::ChangeRef;
use etcd_state::mvcc::{Change, Revision};

use super::ArchiveError;
use crate::store::Store;

/// Deltas without changes that are skipped to find one with changes: bases, and leases alone.
const MAX_SKIPPED: usize = 16;

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

/// Finds the end of the archive, and checks that it is one of this store. None if there is no archive yet.
pub async fn take_up(
    store: &Store,
    objects: &Objects,
) -> Result<Option<(End, SinceBase)>, ArchiveError> {
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
    let earlier = listing.deltas.range(..name).rev();
    let mut earlier = earlier.map(|(name, _)| *name).take(MAX_SKIPPED);
    while matches!(delta.header.kind, Kind::Changes { .. }) && delta.batches.is_empty() {
        let Some(name) = earlier.next() else { break };
        (delta, _) = objects.delta(name).await?;
    }
    check_changes(store, &delta)?;
    Ok(Some((end, SinceBase::of(&listing))))
}

/// Compares the changes of a delta with those that this store still knows.
fn check_changes(store: &Store, delta: &Delta) -> Result<(), ArchiveError> {
    let history = store.history();
    let (first, last) = (delta.header.first(), delta.header.last);
    // Of what was compacted, not all is there.
    let from = first
        .max(history.compact_revision().next())
        .max(Revision::FIRST);
    if from > last {
        return Ok(());
    }
    let name = delta.header.name;
    let damaged = |source| archive::ObjectError::Delta { name, source };
    let count = delta.check_changes().map_err(damaged)?;
    let count = usize::try_from(count).map_or(usize::MAX, |count| count.saturating_add(1));
    // It was compacted just now: then it is as if that had happened before.
    let Ok(commits) = history.commits_from(from, count) else {
        return Ok(());
    };
    let commits = commits.iter().take_while(|commit| commit.revision <= last);
    let mut own = commits.flat_map(|commit| &commit.changes);
    let mut differs = None;
    let compared = delta.changes(|archived| {
        if archived.revision < from {
            return ControlFlow::Continue(());
        }
        match own.next() {
            Some(change) if is_same(change, &archived) => ControlFlow::Continue(()),
            _ => {
                differs = Some(archived.revision);
                ControlFlow::Break(())
            }
        }
    });
    compared.map_err(damaged)?;
    let differs = differs.or_else(|| own.next().map(|change| change.kv.mod_revision));
    match differs {
        Some(revision) => Err(ArchiveError::Diverged { revision }),
        None => Ok(()),
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
