//! The way to a moment: a base, and the deltas that lead on from it.

use etcd_state::mvcc::Revision;

use super::{ObjectError, Objects};
use crate::{BaseInfo, BaseName, ChainError, Delta, DeltaName, Digest, End, Listing};

/// A moment of an archived store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    Latest,
    Revision(Revision),
    /// The end of the last delta that was written until then, in milliseconds since 1970.
    Time(u64),
}

/// The objects that lead to a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub base: BaseName,
    pub info: BaseInfo,
    /// The announcement of the base.
    pub announced: End,
    /// In order; the last one may have changes above the revision.
    pub deltas: Vec<DeltaName>,
    /// Bytes of the deltas.
    pub bytes: u64,
    pub revision: Revision,
    /// The compaction revision of the store at that moment.
    pub compact_revision: Revision,
}

impl Route {
    /// Checks that the deltas led to the moment: that `end`, where they ended, has its revision.
    pub fn check_reached(&self, end: &End) -> Result<(), ChainError> {
        match end.last < self.revision {
            true => Err(ChainError::Missing { missing: end.next }),
            false => Ok(()),
        }
    }
}

/// The reason why there is no way.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("the archive begins after that time")]
    TooEarly,
}

impl Objects {
    /// Finds the way to a moment. Its deltas are not read yet, but for some.
    pub async fn route(&self, moment: Moment) -> Result<Route, RouteError> {
        let mut listing = self.list().await?;
        self.complete(&mut listing, moment).await?;
        let stop = match moment {
            Moment::Revision(_) => None,
            Moment::Latest => listing.deltas.last_key_value().map(|(name, _)| *name),
            Moment::Time(until_ms) => Some(self.last_until(&listing, until_ms).await?),
        };
        let revision = match (moment, stop) {
            (Moment::Revision(revision), _) => revision,
            (_, Some(stop)) => self.delta(stop).await?.0.header.last,
            (_, None) => return Err(ChainError::Empty.into()),
        };
        let (base, info, announced) = self.base_for(&listing, revision, stop).await?;
        let deltas = listing.between(announced.name, revision.next());
        let deltas: Vec<_> = deltas
            .filter(|name| match stop {
                Some(stop) => *name <= stop,
                None => name.first <= revision,
            })
            .collect();
        let bytes = deltas.iter().filter_map(|name| listing.deltas.get(name));
        let mut route = Route {
            base,
            info,
            announced,
            bytes: bytes.sum(),
            deltas,
            revision,
            compact_revision: announced.compact_revision,
        };
        route.compact_revision = self.compacted_at(&route).await?;
        Ok(route)
    }

    /// Adds what a late list lacks at its end, as far as the moment needs it.
    async fn complete(&self, listing: &mut Listing, moment: Moment) -> Result<(), RouteError> {
        let Some((mut name, _)) = listing.deltas.last_key_value().map(|(n, b)| (*n, *b)) else {
            return Ok(());
        };
        loop {
            let (delta, digest) = self.delta(name).await?;
            let end = End::at(name, &delta.header, digest)?;
            if let Moment::Revision(revision) = moment
                && end.last >= revision
            {
                return Ok(());
            }
            if !self.has_delta(end.next).await? {
                return match moment {
                    Moment::Revision(revision) => Err(ChainError::TooNew {
                        revision,
                        last: end.last,
                    }
                    .into()),
                    _ => Ok(()),
                };
            }
            name = end.next;
            listing.deltas.insert(name, 0);
        }
    }

    /// Returns the last delta that ended by then. Their times never go back.
    async fn last_until(&self, listing: &Listing, until_ms: u64) -> Result<DeltaName, RouteError> {
        let names: Vec<_> = listing.deltas.keys().copied().collect();
        let (mut first_later, mut end) = (0, names.len());
        while first_later < end {
            let middle = first_later + (end - first_later) / 2;
            let (delta, _) = self.delta(names[middle]).await?;
            match delta.header.ended_ms <= until_ms {
                true => first_later = middle + 1,
                false => end = middle,
            }
        }
        let last = first_later.checked_sub(1).ok_or(RouteError::TooEarly)?;
        Ok(names[last])
    }

    /// Finds the best base that is announced, by `stop` if there is one.
    async fn base_for(
        &self,
        listing: &Listing,
        revision: Revision,
        stop: Option<DeltaName>,
    ) -> Result<(BaseName, BaseInfo, End), RouteError> {
        let mut best: Option<(BaseName, BaseInfo, End)> = None;
        for base in listing.bases_up_to(revision) {
            if best.is_some_and(|(best, _, _)| best.revision > base.revision) {
                break;
            }
            for name in listing.announcements_of(base) {
                // Of two of one revision the later one counts: what continues both may begin with it, after a gap.
                let is_later = best.is_none_or(|(_, _, end)| name > end.name);
                if !is_later || stop.is_some_and(|stop| name > stop) {
                    continue;
                }
                let (delta, digest) = self.delta(name).await?;
                if let Some((found, info)) = delta.header.base()
                    && found == base
                {
                    let announced = End::at(name, &delta.header, digest)?;
                    best = Some((base, info, announced));
                }
            }
        }
        if let Some(best) = best {
            return Ok(best);
        }
        let first = listing.bases.first_key_value();
        Err(match first.map(|(base, _)| base.revision) {
            Some(first) if first > revision => ChainError::TooOld { revision, first },
            _ => ChainError::Empty,
        }
        .into())
    }

    async fn compacted_at(&self, route: &Route) -> Result<Revision, RouteError> {
        for name in route.deltas.iter().rev() {
            let (delta, _) = self.delta(*name).await?;
            if delta.header.last <= route.revision {
                return Ok(delta.header.compact_revision);
            }
        }
        Ok(route.announced.compact_revision)
    }

    /// Reads the next delta of a route, which must continue the one before without a gap.
    pub async fn follow(
        &self,
        end: &End,
        name: DeltaName,
    ) -> Result<(Delta, Digest, End), RouteError> {
        let (delta, digest) = self.delta(name).await?;
        let end = end.follow_gapless(name, &delta.header, digest)?;
        Ok((delta, digest, end))
    }
}
