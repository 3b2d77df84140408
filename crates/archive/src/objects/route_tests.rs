//! Moments of an archive with two bases and a gap.

use std::sync::Arc;

use bytes::Bytes;
use etcd_state::mvcc::Revision;
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory};

use super::*;
use crate::{BaseInfo, BaseName, ChainError, Delta, Digest, End, Header, Kind};

struct Archive {
    objects: Objects,
    store: Arc<dyn ObjectStore>,
    end: Option<End>,
}

impl Archive {
    fn new() -> Self {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        Self {
            objects: Objects::new(store.clone()),
            store,
            end: None,
        }
    }

    async fn base(&self, revision: i64) -> BaseInfo {
        self.base_with_nonce(revision, revision as u64).await
    }

    async fn base_with_nonce(&self, revision: i64, nonce: u64) -> BaseInfo {
        let revision = Revision::new(revision);
        let name = BaseName { revision, nonce };
        let mut upload = self.objects.begin_base(name).await.unwrap();
        upload.part(Bytes::from_static(b"base")).await.unwrap();
        upload.complete().await.unwrap()
    }

    /// Puts the next delta, which ends at a revision and a time.
    async fn put(&mut self, kind: Kind, last: i64, ended_ms: u64) {
        let delta = Delta {
            header: Header {
                kind,
                name: self.end.map_or(DeltaName::GENESIS, |end| end.next),
                cluster_id: 1,
                node_id: 2,
                last: Revision::new(last),
                compact_revision: Revision::new(last / 2),
                ended_ms,
                previous: self.end.map_or(Digest::NONE, |end| end.digest),
            },
            batches: Vec::new(),
            records: Vec::new(),
        };
        let (put, digest, _) = self.objects.put_delta(&delta).await.unwrap();
        assert_eq!(put, Put::Written);
        self.end = Some(End::at(delta.header.name, &delta.header, digest).unwrap());
    }

    async fn route(&self, moment: Moment) -> Result<Route, RouteError> {
        self.objects.route(moment).await
    }

    async fn at(&self, revision: i64) -> Result<Route, RouteError> {
        self.route(Moment::Revision(Revision::new(revision))).await
    }
}

const CHANGES: Kind = Kind::Changes {
    has_all_records: false,
};

/// Base at 3, deltas to 5 and 9, base at 9, delta to 12, leases alone, gap, base at 20, delta to 22.
async fn archive() -> Archive {
    let mut archive = Archive::new();
    let info = archive.base(3).await;
    archive.put(Kind::BaseAfterGap(info), 3, 30).await;
    archive.put(CHANGES, 5, 50).await;
    archive.put(CHANGES, 9, 90).await;
    let info = archive.base(9).await;
    archive.put(Kind::Base(info), 9, 91).await;
    archive.put(CHANGES, 12, 120).await;
    archive.put(CHANGES, 12, 121).await;
    let info = archive.base(20).await;
    archive.put(Kind::BaseAfterGap(info), 20, 200).await;
    archive.put(CHANGES, 22, 220).await;
    // Nobody has announced it.
    archive.base(11).await;
    archive
}

fn shape(route: &Route) -> (i64, usize, i64, i64) {
    (
        route.base.revision.number(),
        route.deltas.len(),
        route.revision.number(),
        route.compact_revision.number(),
    )
}

#[tokio::test]
async fn a_revision_is_reached_from_the_nearest_base_that_was_announced() {
    let archive = archive().await;
    for (revision, expected) in [
        (3, (3, 0, 3, 1)),
        (4, (3, 1, 4, 1)),
        (5, (3, 1, 5, 2)),
        (8, (3, 2, 8, 2)),
        (9, (9, 0, 9, 4)),
        (11, (9, 1, 11, 4)),
        (12, (9, 1, 12, 6)),
        (20, (20, 0, 20, 10)),
        (22, (20, 1, 22, 11)),
    ] {
        let route = archive.at(revision).await.unwrap();
        assert_eq!(shape(&route), expected, "{revision}");
        let mut end = route.announced;
        for name in &route.deltas {
            (_, _, end) = archive.objects.follow(&end, *name).await.unwrap();
        }
        assert!(end.last.number() >= revision);
    }
}

#[tokio::test]
async fn what_is_not_there_is_refused_by_name() {
    let archive = archive().await;
    let refused = async |revision| archive.at(revision).await.unwrap_err();
    let too_old = refused(2).await;
    assert!(
        matches!(too_old, RouteError::Chain(ChainError::TooOld { .. })),
        "{too_old}"
    );
    let too_new = refused(23).await;
    assert!(
        matches!(too_new, RouteError::Chain(ChainError::TooNew { .. })),
        "{too_new}"
    );
    // In a gap there is a way up to the gap, which whoever follows it hears.
    let route = archive.at(15).await.unwrap();
    let mut end = route.announced;
    let mut gap = None;
    for name in route.deltas {
        match archive.objects.follow(&end, name).await {
            Ok((_, _, next)) => end = next,
            Err(error) => gap = Some(error),
        }
    }
    let expected = "revisions 13 to 19 are not in the archive";
    assert!(gap.unwrap().to_string().starts_with(expected));
    let empty = Archive::new().route(Moment::Latest).await.unwrap_err();
    assert!(
        matches!(empty, RouteError::Chain(ChainError::Empty)),
        "{empty}"
    );
}

#[tokio::test]
async fn a_time_means_the_last_delta_that_ended_by_then() {
    let archive = archive().await;
    for (time, expected) in [
        (30, (3, 0, 3, 1)),
        (49, (3, 0, 3, 1)),
        (50, (3, 1, 5, 2)),
        (90, (3, 2, 9, 4)),
        (91, (9, 0, 9, 4)),
        (120, (9, 1, 12, 6)),
        (121, (9, 2, 12, 6)),
        (200, (20, 0, 20, 10)),
        (9999, (20, 1, 22, 11)),
    ] {
        let route = archive.route(Moment::Time(time)).await.unwrap();
        assert_eq!(shape(&route), expected, "{time}");
    }
    let early = archive.route(Moment::Time(29)).await.unwrap_err();
    assert!(matches!(early, RouteError::TooEarly), "{early}");
    let route = archive.route(Moment::Latest).await.unwrap();
    assert_eq!(shape(&route), (20, 1, 22, 11));
}

#[tokio::test]
async fn a_delta_that_was_deleted_is_missed() {
    let archive = archive().await;
    let first = archive.at(9).await.unwrap();
    let from = archive.at(4).await.unwrap();
    assert_eq!(first.deltas.len(), 0);
    let name = path(from.deltas[0]);
    archive.store.delete(&name).await.unwrap();
    let route = archive.at(8).await.unwrap();
    let error = archive
        .objects
        .follow(&route.announced, route.deltas[0])
        .await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("is missing, although the archive goes on"),
        "{error}"
    );
}

#[tokio::test]
async fn a_last_delta_that_was_deleted_is_missed() {
    let archive = archive().await;
    let to_eight = archive.at(8).await.unwrap();
    let missing = to_eight.deltas[1];
    archive.store.delete(&path(missing)).await.unwrap();
    let route = archive.at(8).await.unwrap();
    let mut end = route.announced;
    for name in &route.deltas {
        (_, _, end) = archive.objects.follow(&end, *name).await.unwrap();
    }
    let error = route.check_reached(&end).unwrap_err();
    assert_eq!(error, ChainError::Missing { missing });
}

#[tokio::test]
async fn of_two_bases_of_one_revision_the_later_one_counts() {
    for (first, second) in [(1, 2), (2, 1)] {
        let mut archive = Archive::new();
        let info = archive.base_with_nonce(5, first).await;
        archive.put(Kind::BaseAfterGap(info), 5, 50).await;
        archive.put(CHANGES, 5, 51).await;
        let info = archive.base_with_nonce(5, second).await;
        archive.put(Kind::BaseAfterGap(info), 5, 60).await;
        archive.put(CHANGES, 7, 70).await;
        let route = archive.at(7).await.unwrap();
        assert_eq!((route.base.nonce, route.deltas.len()), (second, 1));
        archive
            .objects
            .follow(&route.announced, route.deltas[0])
            .await
            .unwrap();
        let before = archive.route(Moment::Time(55)).await.unwrap();
        assert_eq!((before.base.nonce, before.deltas.len()), (first, 1));
    }
}
