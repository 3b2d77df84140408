//! A store of an archive at one moment: its base as a snapshot, then delta after delta.

use std::{collections::BTreeMap, io::Seek, ops::ControlFlow, path::PathBuf};

use archive::{
    Delta, End, Kind, Moment, Objects, RecordChange, Route, RouteError,
    place::{self, Place},
};
use etcd_state::{
    lease::LeaseCopy,
    mvcc::{Change, LeaseId},
    settings::{SettingChange, Settings, Space},
};
use tracing::info;

use super::{RestoreError, SnapshotSource, content::Contents};
use crate::{args::RestoreArgs, backup::Scratch, process::progress::Progress};

pub struct Archived {
    place: Place,
    objects: Objects,
    route: Route,
    end: End,
    /// The number of deltas that were read.
    read: usize,
    progress: Progress,
    /// None before the first delta.
    records: Option<RecordsAt>,
}

impl Archived {
    /// Finds the way to the moment, and reads the base, whose file is gone when it is closed.
    pub async fn open(
        url: &str,
        args: &RestoreArgs,
    ) -> Result<(SnapshotSource, Self), RestoreError> {
        let place = place::open(url, &args.access.options())?;
        let objects = Objects::new(place.store().clone());
        let moment = match (args.revision, args.time) {
            (Some(revision), _) => Moment::Revision(etcd_state::mvcc::Revision::new(revision)),
            (None, Some(time)) => {
                Moment::Time(u64::try_from(time.as_millisecond()).unwrap_or_default())
            }
            (None, None) => Moment::Latest,
        };
        let route = objects.route(moment).await;
        let route = route.map_err(|error| failed(&place, error))?;
        info!(
            revision = route.revision.number(),
            base = route.base.revision.number(),
            deltas = route.deltas.len(),
            "found the way through the archive"
        );
        let scratch = scratch(args);
        let (mut file, dir) = scratch.create().map_err(unreadable)?;
        let dir = dir.to_owned();
        let mut progress = Progress::bytes("reading the base", Some(route.info.bytes));
        let read = objects
            .read_base(route.base, route.info, &mut file, |bytes| {
                progress.advance(bytes)
            })
            .await;
        read.map_err(|error| failed(&place, error))?;
        file.rewind().map_err(|error| unreadable((dir, error)))?;
        let name = PathBuf::from(format!("{place}/{}", route.base));
        let source = SnapshotSource::of_backup(file, &name, &scratch)?;
        let archived = Self {
            place,
            objects,
            end: route.announced,
            read: 0,
            progress: Progress::bytes("reading the deltas", Some(route.bytes)),
            records: None,
            route,
        };
        Ok((source, archived))
    }

    pub fn route(&self) -> &Route {
        &self.route
    }

    /// Returns the changes of the next delta; none after the last one, when `contents` has the leases and settings of the moment.
    pub async fn next(
        &mut self,
        contents: &mut Contents,
    ) -> Result<Option<Vec<Change>>, RestoreError> {
        let records = self.records.get_or_insert_with(|| RecordsAt::new(contents));
        let Some(name) = self.route.deltas.get(self.read).copied() else {
            let reached = self.route.check_reached(&self.end);
            reached.map_err(RouteError::from)?;
            let (leases, settings) = records.finish();
            contents.set_records(leases, settings);
            return Ok(None);
        };
        let (delta, _, end) = match self.objects.follow(&self.end, name).await {
            Ok(followed) => followed,
            Err(error) => return Err(failed(&self.place, error)),
        };
        self.end = end;
        self.read += 1;
        records.apply(&delta, &self.route);
        let bytes = delta.batches.iter().map(|batch| batch.len() as u64);
        self.progress.advance(bytes.sum());
        let (mut changes, mut failed) = (Vec::new(), None);
        let read = delta.changes(|change| {
            if change.revision > self.route.revision {
                return ControlFlow::Break(());
            }
            match contents.archived_change(change) {
                Ok(change) => {
                    changes.push(change);
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        read.map_err(|source| archive::ObjectError::Delta { name, source })
            .map_err(RouteError::from)?;
        failed.map_or(Ok(Some(changes)), Err)
    }
}

/// Chooses where the base is kept meanwhile: beside the new directory, unless another place was named.
fn scratch(args: &RestoreArgs) -> Scratch {
    let beside = args.storage_dir.as_deref().unwrap_or(args.file());
    Scratch::beside(beside, args.scratch_dir.as_deref())
}

/// Names an error by what can be done, if it is one of the place.
fn failed(place: &Place, error: impl Into<RouteError>) -> RestoreError {
    let error = error.into();
    let of_place = match &error {
        RouteError::Object(error) => place.failed_object(error),
        _ => None,
    };
    of_place.map_or_else(|| error.into(), RestoreError::from)
}

fn unreadable((path, source): (PathBuf, std::io::Error)) -> RestoreError {
    RestoreError::Unreadable { path, source }
}

/// Leases and settings on the way to the moment.
#[derive(Debug)]
struct RecordsAt {
    leases: BTreeMap<LeaseId, LeaseCopy>,
    settings: Settings,
}

impl RecordsAt {
    fn new(contents: &Contents) -> Self {
        let leases = contents.leases().iter().map(|lease| (lease.id, *lease));
        let mut settings = Settings::default();
        for setting in contents.settings() {
            settings.apply(setting.clone());
        }
        Self {
            leases: leases.collect(),
            settings,
        }
    }

    /// Applies what took effect up to the revision. Where the moment is inside of a delta, it keeps every lease that a key may
    /// have had then.
    fn apply(&mut self, delta: &Delta, route: &Route) {
        let is_all = delta.header.last <= route.revision;
        let has_all_records = matches!(
            delta.header.kind,
            Kind::Changes {
                has_all_records: true
            }
        );
        if is_all && has_all_records {
            self.leases.clear();
            self.settings = Settings::default();
        }
        for record in &delta.records {
            let is_due = record.revision <= route.revision;
            match &record.change {
                RecordChange::Lease(lease) if is_due => {
                    self.leases.insert(lease.id, *lease);
                }
                RecordChange::Lease(lease) if has_all_records => {
                    self.leases.entry(lease.id).or_insert(*lease);
                }
                RecordChange::LeaseRemoved(id) if is_due => {
                    self.leases.remove(id);
                }
                RecordChange::Setting(change) if is_due => self.settings.apply(change.clone()),
                _ => {}
            }
        }
    }

    /// Leaves out where other nodes were: it is none of the settings of the new one.
    fn finish(&self) -> (Vec<LeaseCopy>, Vec<SettingChange>) {
        let spaces = Space::ALL.into_iter().filter(|it| *it != Space::Member);
        let settings = spaces.flat_map(|space| {
            let values = self.settings.iter(space);
            values.map(move |(name, value)| SettingChange {
                space,
                name: name.clone(),
                value: Some(value.clone()),
            })
        });
        (self.leases.values().copied().collect(), settings.collect())
    }
}
