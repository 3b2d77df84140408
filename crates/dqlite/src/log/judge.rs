//! Checks that files which are whole each by itself belong together.

use super::{
    damage::{Damage, DamageKind, Fault, Lost},
    entries::{Entries, Head, Run},
    metadata::Metadata,
    plan::Plan,
    report::{ClosedReport, Configuration, OpenReport, Remnant, Report, SnapshotReport},
    segment::{OpenSegment, Tail},
    snapshot::SnapshotData,
    snapshot_meta::SnapshotMeta,
};

/// The contents of the files, in the order of the plan.
pub struct Contents {
    pub metadata: Metadata,
    pub snapshot_meta: Option<SnapshotMeta>,
    pub snapshot_data: Option<SnapshotData>,
    pub closed: Vec<Result<Entries, Fault>>,
    pub open: Vec<Result<OpenSegment, Fault>>,
}

pub fn judge(
    plan: &Plan,
    contents: Contents,
    short_metadata: Option<&'static str>,
) -> Result<Report, Box<Damage>> {
    let mut log = Log::new(plan, &contents);
    let mut closed = Vec::new();
    for (file, read) in plan.closed.iter().zip(contents.closed) {
        closed.push(ClosedReport {
            name: file.name.clone(),
            first: file.first,
            last: file.last,
            digest: read.as_ref().map_or(0, |entries| entries.digest),
        });
        log.add(&file.name, read)?;
    }
    let open = open_segments(plan, contents.open, &mut log)?;
    let snapshot = plan.snapshot.zip(contents.snapshot_data);
    let last_index = log.next - 1;
    for half in &plan.halves {
        if half.has_data_file && half.id.index > last_index {
            let lost = Lost::Entries(last_index + 1..=half.id.index);
            return Err(Fault::of_file(DamageKind::HalfSnapshot).into_damage(&half.name, lost));
        }
    }
    Ok(Report {
        term: contents.metadata.term,
        voted_for: contents.metadata.voted_for,
        snapshot: snapshot.map(|(id, data)| SnapshotReport {
            id,
            databases: data.databases,
            has_checksum: data.has_checksum,
        }),
        first_index: plan.first_index(),
        last_index,
        last_term: log.last_term,
        first_start_fails: !plan.behind.is_empty() && plan.closed.is_empty() && !open.is_empty(),
        closed,
        remnants: remnants(plan, &open, log.torn, short_metadata),
        configuration: log.configuration,
        open,
        bytes_read: 0,
    })
}

/// Adds the open segments to the log. Only the last that was used may end in a torn write, and none
/// before it may be missing.
fn open_segments(
    plan: &Plan,
    read: Vec<Result<OpenSegment, Fault>>,
    log: &mut Log,
) -> Result<Vec<OpenReport>, Box<Damage>> {
    let is_used =
        |read: &Result<OpenSegment, Fault>| read.as_ref().map_or(true, OpenSegment::is_used);
    let last_used = read.iter().rposition(is_used);
    if let (Some(at), [.., behind], []) = (last_used, &plan.behind[..], &plan.closed[..]) {
        let name = &plan.open[..=at][0].name;
        return Err(plan.gap(name, behind.last + 1, plan.snapshot_index()));
    }
    let mut reports = Vec::new();
    for (at, (file, read)) in plan.open.iter().zip(read).enumerate() {
        let first = log.next;
        let is_before = last_used.is_some_and(|last| at < last);
        let later = || plan.open[at + 1].name.clone();
        let ends_early = |offset| {
            let kind = DamageKind::EndsEarly { later: later() };
            let fault = Fault {
                offset,
                ..Fault::of_file(kind)
            };
            fault.into_damage(&file.name, Lost::From(first))
        };
        match read.as_ref().map(|segment| segment.tail) {
            Ok(Tail::Unused) if is_before => return Err(ends_early(None)),
            Ok(Tail::Torn { offset, .. }) if is_before => return Err(ends_early(Some(offset))),
            Ok(Tail::Torn { offset, len_bytes }) => {
                log.torn = Some((file.name.clone(), offset, len_bytes));
            }
            _ => {}
        }
        if let Ok(segment) = &read {
            log.check_copy(&file.name, &segment.entries)?;
        }
        let head = |segment: &OpenSegment| Some(segment.entries.heads.first()?.checksums);
        let first_batch = read.as_ref().ok().and_then(head);
        let digest = read.as_ref().map_or(0, |segment| segment.entries.digest);
        log.add(&file.name, read.map(|segment| segment.entries))?;
        if is_before && plan.open[at + 1].counter != file.counter + 1 {
            let kind = DamageKind::OpenGap {
                after: file.counter,
            };
            return Err(Fault::of_file(kind).into_damage(&later(), Lost::From(log.next)));
        }
        reports.push(OpenReport {
            name: file.name.clone(),
            counter: file.counter,
            entries: (log.next > first).then(|| (first, log.next - 1)),
            digest,
            first_batch,
        });
    }
    Ok(reports)
}

/// The log as far as it was read.
struct Log<'a> {
    plan: &'a Plan,
    /// The index of the entry after the last one.
    next: u64,
    last_term: u64,
    /// The greatest term so far.
    term: u64,
    term_known: u64,
    configuration: Option<Configuration>,
    torn: Option<(String, u64, u64)>,
    /// The first batches of each segment.
    heads: Vec<(String, Vec<Head>)>,
}

impl<'a> Log<'a> {
    fn new(plan: &'a Plan, contents: &Contents) -> Self {
        let next = plan.first_index();
        // Entries that are in the snapshot as well may be of earlier terms than its last one.
        let snapshot_term = plan.snapshot.map_or(0, |id| id.term);
        let is_after_snapshot = next > plan.snapshot_index();
        let meta = contents.snapshot_meta.as_ref();
        Self {
            plan,
            next,
            last_term: snapshot_term,
            term: if is_after_snapshot { snapshot_term } else { 0 },
            term_known: contents.metadata.term,
            configuration: meta.map(|meta| Configuration {
                index: meta.configuration_index,
                servers: meta.servers.clone(),
            }),
            torn: None,
            heads: Vec::new(),
        }
    }

    /// An old open segment beside the closed one that it became, as a restored file would be.
    fn check_copy(&self, file: &str, entries: &Entries) -> Result<(), Box<Damage>> {
        let is_copy = |(_, heads): &&(String, Vec<Head>)| entries.is_copy_of(heads);
        match self.heads.iter().find(is_copy) {
            None => Ok(()),
            Some((of, _)) => {
                let kind = DamageKind::Copy { of: of.clone() };
                Err(Fault::of_file(kind).into_damage(file, Lost::From(self.next)))
            }
        }
    }

    fn add(&mut self, file: &str, read: Result<Entries, Fault>) -> Result<(), Box<Damage>> {
        let first = self.next;
        let entries = read.map_err(|fault| {
            let lost = self.lost_from(first + fault.entries_before);
            fault.into_damage(file, lost)
        })?;
        let is_first = first == 1 && self.plan.snapshot.is_none() && entries.count > 0;
        if is_first && !entries.begins_with_configuration {
            let fault = Fault::at(8, DamageKind::NoConfiguration);
            return Err(fault.into_damage(file, Lost::From(1)));
        }
        for (at, run) in entries.runs.iter().enumerate() {
            let end = entries
                .runs
                .get(at + 1)
                .map_or(entries.count, |run| run.entry);
            self.add_run(first, run, first + end - 1).map_err(|kind| {
                let lost = self.lost_from(first + run.entry);
                Fault {
                    offset: Some(run.offset),
                    ..Fault::of_file(kind)
                }
                .into_damage(file, lost)
            })?;
        }
        self.next = first + entries.count;
        self.heads.push((file.to_owned(), entries.heads));
        if let Some((entry, servers)) = entries.configuration {
            let index = first + entry;
            // The one in the snapshot counts until the log has a later one.
            if self
                .configuration
                .as_ref()
                .is_none_or(|known| known.index < index)
            {
                self.configuration = Some(Configuration { index, servers });
            }
        }
        Ok(())
    }

    fn add_run(&mut self, first: u64, run: &Run, last_index: u64) -> Result<(), DamageKind> {
        let first_index = first + run.entry;
        if run.term > self.term_known {
            return Err(DamageKind::TermUnknown {
                known: self.term_known,
                found: run.term,
            });
        }
        if run.term < self.term && !run.is_forced {
            return Err(DamageKind::TermDecreases {
                before: self.term,
                found: run.term,
            });
        }
        self.term = self.term.max(run.term);
        self.last_term = run.term;
        if let Some(id) = self.plan.snapshot
            && (first_index..=last_index).contains(&id.index)
            && id.term != run.term
        {
            return Err(DamageKind::TermOfSnapshot {
                expected: id.term,
                found: run.term,
            });
        }
        Ok(())
    }

    fn lost_from(&self, first: u64) -> Lost {
        match self.plan.last_named_index() {
            // Open segments may hold more, but no name says so.
            last if last >= first && self.plan.open.is_empty() => Lost::Entries(first..=last),
            _ => Lost::From(first),
        }
    }
}

fn remnants(
    plan: &Plan,
    open: &[OpenReport],
    torn: Option<(String, u64, u64)>,
    short_metadata: Option<&'static str>,
) -> Vec<Remnant> {
    let torn_file = torn.as_ref().map(|(file, ..)| file.clone());
    let mut remnants = Vec::new();
    if let Some((file, offset, len_bytes)) = torn {
        let index = open.iter().rev().find_map(|open| open.entries);
        remnants.push(Remnant::TornWrite {
            file,
            offset,
            len_bytes,
            index: index.map_or(plan.open_index(), |(_, last)| last + 1),
        });
    }
    let is_unused =
        |open: &&OpenReport| open.entries.is_none() && Some(&open.name) != torn_file.as_ref();
    let unused = open.iter().filter(is_unused);
    remnants.extend(unused.map(|open| Remnant::Unused(open.name.clone())));
    let temporary = plan.temporary.iter().cloned();
    remnants.extend(temporary.map(Remnant::Temporary));
    let halves = plan.halves.iter().map(|half| half.name.clone());
    remnants.extend(halves.map(Remnant::HalfSnapshot));
    let older = plan.older_snapshots.iter().map(|id| id.data_name());
    remnants.extend(older.map(Remnant::OlderSnapshot));
    let behind = plan.behind.iter().map(|file| file.name.clone());
    remnants.extend(behind.map(Remnant::BehindSnapshot));
    remnants.extend(short_metadata.map(|name| Remnant::ShortMetadata(name.to_owned())));
    remnants
}
