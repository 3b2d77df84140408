//! The node that leads, as it writes the archive: one step after the other.

use archive::{BaseInfo, Delta, DeltaName, Digest, End, Header, Kind, Objects, Put, Record};
use etcd_state::mvcc::Revision;
use stopping::warn;
use tracing::info;

use super::{
    ARCHIVE, ArchiveError,
    base::{Base, write_base},
    collect::{Piece, collect},
    metrics::now_ms,
    records::{KnownState, Look, compare, granted_above},
    run::MakerNow,
    take_up::{History, SinceBase, TakenUp, take_up},
};
use crate::store::{SnapshotState, Store};

/// Deltas after which a new base is made, whatever their size: a restore reads them one after the other, some hundred a second.
const MAX_DELTAS: u64 = 4_096;

/// Bytes of deltas after which a new base is made, unless the base itself is more than half of that.
const MAX_DELTAS_BYTES: u64 = 64 * 1024 * 1024;

pub struct Archiver<'a> {
    store: &'a Store,
    objects: &'a Objects,
    maker: &'a MakerNow,
    /// None before the first base.
    end: Option<End>,
    /// None if all leases and settings are to be recorded.
    known: Option<KnownState>,
    since_base: SinceBase,
    /// The result of comparing the changes before the end with those of this store.
    history: History,
}

impl<'a> Archiver<'a> {
    /// Goes on where the archive ends.
    pub async fn take_up(
        store: &'a Store,
        objects: &'a Objects,
        maker: &'a MakerNow,
    ) -> Result<Self, ArchiveError> {
        let found = take_up(store, objects).await?;
        let end = found.map(|found| found.end);
        let since_base =
            found.map_or_else(SinceBase::default, |TakenUp { since_base, .. }| since_base);
        let history = found.map_or(History::Same, |TakenUp { history, .. }| history);
        if let Some(end) = &end {
            ARCHIVE.reached(end.last, end.ended_ms);
            store.hold_above(end.last);
            info!(revision = end.last.number(), "the archive goes on");
        }
        Ok(Self {
            store,
            objects,
            maker,
            end,
            known: None,
            since_base,
            history,
        })
    }

    /// Archives all that is committed now.
    pub async fn step(&mut self) -> Result<(), ArchiveError> {
        let Some(end) = self.end else {
            info!("the archive is empty: making the first base");
            return self.base_after_gap(None).await;
        };
        if self.history == History::Unknown {
            warn!(
                "nothing in the archive can be compared with this store: what was archived last is compacted, or was a base. \
                 It goes on with a new base"
            );
            return self.base_after_gap(Some(end)).await;
        }
        let granted = self.store.granted_leases();
        let granted_count = granted.len();
        let state = self.store.snapshot_state().await?;
        // The state is of the leader, which another node may be by now.
        if !self.store.leads()
            || state.revision > self.store.revision()
            || state.revision < end.last
        {
            return Err(ArchiveError::NotLeading);
        }
        let SnapshotState {
            revision: up_to,
            leases,
            settings,
        } = &state;
        let look = Look {
            leases,
            settings,
            granted,
            above: end.last,
            up_to: *up_to,
        };
        let (records, known) = compare(self.known.as_ref(), look);
        // What fails from here on was taken from the lists: then all is recorded anew.
        self.known = None;
        if end.last == *up_to && !records.are_due() {
            self.known = Some(known);
            return Ok(());
        }
        let (mut first, last, are_all) = (records.first, records.last, records.are_all);
        loop {
            let above = self.end.map_or(end.last, |end| end.last);
            let Ok(piece) = collect(self.store, above, *up_to) else {
                return self.base_after_gap(self.end).await;
            };
            let is_last = piece.last == *up_to;
            let mut records = std::mem::take(&mut first);
            if is_last {
                records.extend(last.iter().cloned());
            }
            self.changes(piece, records, is_last && are_all).await?;
            if is_last {
                break;
            }
        }
        self.known = Some(known);
        self.store.forget_granted_leases(granted_count);
        if self.wants_base() {
            self.base().await?;
        }
        Ok(())
    }

    fn wants_base(&self) -> bool {
        let SinceBase {
            deltas,
            bytes,
            base_bytes,
        } = self.since_base;
        deltas >= MAX_DELTAS || bytes >= MAX_DELTAS_BYTES.max(base_bytes.saturating_mul(2))
    }

    /// Writes a delta with changes.
    async fn changes(
        &mut self,
        piece: Piece,
        records: Vec<Record>,
        has_all_records: bool,
    ) -> Result<(), ArchiveError> {
        let kind = Kind::Changes { has_all_records };
        let compact_revision = self.store.history().compact_revision();
        let header = self.header(kind, piece.last, compact_revision);
        let delta = Delta {
            header,
            batches: piece.batches,
            records,
        };
        let bytes = self.put(&delta).await?;
        ARCHIVE.wrote(false, bytes);
        self.since_base.deltas += 1;
        self.since_base.bytes += bytes;
        Ok(())
    }

    /// Makes a base that continues the archive, so that a restore need not begin with an old one.
    async fn base(&mut self) -> Result<(), ArchiveError> {
        let base = write_base(self.store, self.objects, (self.maker)().await).await?;
        // The base itself has the leases that are left at its end.
        let above = self.end.map_or(Revision::NONE, |end| end.last);
        let mut first = granted_above(above, &self.store.granted_leases());
        while let Some(end) = self.end
            && end.last < base.revision
        {
            let Ok(piece) = collect(self.store, end.last, base.revision) else {
                return self.announce_gap(Some(end), base).await;
            };
            let records = std::mem::take(&mut first);
            self.changes(piece, records, false).await?;
        }
        self.announce(Kind::Base(base.info), base).await
    }

    /// Makes a base that takes the place of what cannot be archived any more.
    async fn base_after_gap(&mut self, end: Option<End>) -> Result<(), ArchiveError> {
        let base = write_base(self.store, self.objects, (self.maker)().await).await?;
        self.announce_gap(end, base).await
    }

    async fn announce_gap(&mut self, end: Option<End>, base: Base) -> Result<(), ArchiveError> {
        if base.revision < self.end.map_or(Revision::NONE, |end| end.last) {
            return Err(ArchiveError::NotLeading);
        }
        if let Some(end) = end.filter(|end| end.last.next() < base.revision) {
            ARCHIVE.left_gap();
            warn!(
                first = end.last.next().number(),
                last = base.revision.previous().number(),
                "the archive lacks revisions: they were compacted before they could be written. It goes on with a new base"
            );
        }
        self.announce(Kind::BaseAfterGap(base.info), base).await
    }

    async fn announce(&mut self, kind: Kind, base: Base) -> Result<(), ArchiveError> {
        let delta = Delta {
            header: self.header(kind, base.revision, base.compact_revision),
            batches: Vec::new(),
            records: Vec::new(),
        };
        let bytes = self.put(&delta).await?;
        let BaseInfo {
            bytes: base_bytes, ..
        } = base.info;
        ARCHIVE.wrote(true, bytes + base_bytes);
        self.since_base = SinceBase {
            base_bytes,
            ..SinceBase::default()
        };
        // The base has leases and settings of its own moment, and is of this store.
        self.known = None;
        self.history = History::Same;
        info!(
            revision = base.revision.number(),
            bytes = base_bytes,
            "archived a base"
        );
        Ok(())
    }

    fn header(&self, kind: Kind, last: Revision, compact_revision: Revision) -> Header {
        let end = self.end.as_ref();
        // What is compacted above the end of this delta belongs to a later one.
        let before = end.map_or(compact_revision, |end| end.compact_revision);
        Header {
            kind,
            name: end.map_or(DeltaName::GENESIS, |end| end.next),
            cluster_id: self.store.cluster_id(),
            node_id: self.store.member_id(),
            last,
            compact_revision: match compact_revision <= last {
                true => compact_revision,
                false => before,
            },
            ended_ms: now_ms().max(end.map_or(0, |end| end.ended_ms)),
            previous: end.map_or(Digest::NONE, |end| end.digest),
        }
    }

    /// Puts a delta at the end. Returns its bytes.
    async fn put(&mut self, delta: &Delta) -> Result<u64, ArchiveError> {
        let (put, digest, bytes) = self.objects.put_delta(delta).await?;
        if put == Put::Taken {
            return Err(ArchiveError::Overtaken);
        }
        let (name, header) = (delta.header.name, &delta.header);
        let end = match &self.end {
            Some(end) => end.follow(name, header, digest)?,
            None => End::at(name, header, digest)?,
        };
        self.end = Some(end);
        self.store.hold_above(end.last);
        ARCHIVE.reached(end.last, end.ended_ms);
        Ok(bytes)
    }
}
