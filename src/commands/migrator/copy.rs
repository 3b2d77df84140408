//! `--mode copy`: makes a store hold what another holds, key by key in order, writing only what differs. So
//! a copy that was interrupted is finished by the same command, and one that is done is checked by the same walk
//! without the writing.

use std::fmt;

use etcd_proto::etcdserverpb::LeaseTimeToLiveRequest;
use etcd_state::mvcc::Revision;
use tracing::info;

use super::{
    MigrateError,
    entry::{Entry, Step, Tally, Total, step},
    leases::Leases,
    pages::{Header, survey},
    source::{self, Entries, FileSource, Lease},
    state::{Begun, State},
    target::{Outcome, Target, Write},
};
use crate::{
    args::{MigratorArgs, Origin},
    process::progress::Progress,
    remote::{EndpointUrl, Remote},
};

/// The most attempts when the source is compacted in between. Each goes on where the last one was.
const MAX_ATTEMPTS: usize = 5;

/// Keys that are named when both stores differ.
const NAMED_KEYS: usize = 3;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    pub total: Total,
    pub revision: Revision,
    pub outcome: Outcome,
    pub kept: u64,
    pub leases: usize,
    /// Keys whose lease ended while they were copied.
    pub expired: u64,
}

impl fmt::Display for Copied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            total,
            revision,
            outcome,
            kept,
            leases,
            expired,
        } = self;
        write!(
            f,
            "copied: revision {revision} of the source, {} written, {kept} there already, {leases} leases",
            outcome.written
        )?;
        if *expired > 0 {
            write!(f, ", {expired} keys expired meanwhile")?;
        }
        write!(f, "; the same on both sides: {total}")
    }
}

pub async fn run(args: &MigratorArgs) -> Result<Copied, MigrateError> {
    let flags = &args.copy;
    let origin = flags.from.as_ref().expect("checked with the flags");
    let to = flags.to.as_ref().expect("checked with the flags");
    let target = connect(to, &flags.to_remote()).await?;
    let source = match origin {
        Origin::Server(url) => Some(connect(url, &flags.from_remote()).await?),
        Origin::File(_) => None,
    };
    let copy = Copy {
        origin: origin.clone(),
        source,
        target,
    };
    let state = State::in_dir(&args.db_dir);
    let begun = copy.check_target(&state, flags.force).await?;
    state.begin(&begun)?;
    let mut attempts = MAX_ATTEMPTS;
    let done = loop {
        attempts -= 1;
        match copy.once().await {
            Err(MigrateError::Compacted) if attempts > 0 => {
                info!("the source was compacted: going on with its current revision");
            }
            other => break other.map_err(MigrateError::once_begun)?,
        }
    };
    state.end()?;
    Ok(done)
}

async fn connect(
    url: &EndpointUrl,
    flags: &crate::args::RemoteFlags,
) -> Result<Remote, MigrateError> {
    let (tls, login) = (flags.tls_files(), flags.login());
    Ok(Remote::connect(url, &tls, login.as_ref()).await?)
}

struct Copy {
    origin: Origin,
    /// The source if it is a server; none if it is a file.
    source: Option<Remote>,
    target: Remote,
}

/// A view of the source: its leases, and its entries at one revision.
struct View {
    entries: Entries,
    leases: Vec<Lease>,
    count: u64,
    revision: Revision,
    /// True if entries name leases by their TTL, which nobody can ask about.
    is_go: bool,
}

impl Copy {
    /// Checks that the target is empty, or holds what an earlier run of this copy has put there.
    async fn check_target(&self, state: &State, force: bool) -> Result<Begun, MigrateError> {
        let (to, keys) = self.survey_target().await?;
        let from = match &self.source {
            Some(source) => {
                let (from, _) = survey_all(source).await?;
                if from.cluster_id == to.cluster_id && !to.is_of_go() {
                    return Err(MigrateError::Same(to.cluster_id));
                }
                store_name(source, from)
            }
            None => self.origin.absolute(),
        };
        let begun = Begun {
            from,
            to: store_name(&self.target, to),
        };
        if keys > 0 && !force && !state.is_begun(&begun)? {
            return Err(MigrateError::NotEmpty(self.target.url.clone(), keys));
        }
        Ok(begun)
    }

    async fn survey_target(&self) -> Result<(Header, u64), MigrateError> {
        survey_all(&self.target).await
    }

    async fn view(&self) -> Result<View, MigrateError> {
        let Some(source) = &self.source else {
            let Origin::File(path) = self.origin.clone() else {
                unreachable!("a server is connected to")
            };
            let opening = tokio::task::spawn_blocking(move || FileSource::open(&path));
            let file = opening.await.expect("opening does not panic")?;
            let (revision, leases) = (file.revision, file.leases.clone());
            let (entries, count) = file.entries();
            return Ok(View {
                entries: Entries::File(Box::new(entries)),
                leases,
                count,
                revision,
                is_go: false,
            });
        };
        let (header, count) = survey_all(source).await?;
        Ok(View {
            leases: source::leases(source, header).await?,
            entries: source::entries(source, header),
            count,
            revision: header.revision,
            is_go: header.is_of_go(),
        })
    }

    async fn once(&self) -> Result<Copied, MigrateError> {
        let view = self.view().await?;
        let (to, _) = self.survey_target().await?;
        let is_go = to.is_of_go();
        let leases = Leases::grant(&self.target, &view.leases, view.is_go).await?;
        let (revision, count, lease_count) = (view.revision, view.count, leases.count());
        let mut walk = Walk {
            source: view.entries,
            target: source::entries(&self.target, to),
            leases,
            target_is_go: is_go,
            expired: 0,
        };
        let (outcome, kept) = walk.copy(&self.target, count).await?;
        let (leases, expired) = (walk.leases, walk.expired + outcome.expired);
        let view = self.view_at(revision).await?;
        let (to, _) = self.survey_target().await?;
        let mut walk = Walk {
            source: view,
            target: source::entries(&self.target, to),
            leases,
            target_is_go: is_go,
            expired: 0,
        };
        let total = walk.check(&self.target, count).await?;
        Ok(Copied {
            total,
            revision,
            outcome,
            kept,
            leases: lease_count,
            expired: expired.max(walk.expired),
        })
    }

    /// The entries once more.
    async fn view_at(&self, revision: Revision) -> Result<Entries, MigrateError> {
        match &self.source {
            None => Ok(self.view().await?.entries),
            Some(source) => {
                let (header, _) = survey_all(source).await?;
                Ok(source::entries(source, Header { revision, ..header }))
            }
        }
    }
}

/// The Go k8s-dqlite answers nothing to a range of all keys. Who it is, and how many keys it has, of those that are copied.
async fn survey_all(remote: &Remote) -> Result<(Header, u64), MigrateError> {
    let (header, count) = survey(remote, &super::pages::KeySpan::ALL).await?;
    match header.is_of_go() {
        true => survey(remote, &source::span_of(header)).await,
        false => Ok((header, count)),
    }
}

fn store_name(remote: &Remote, header: Header) -> String {
    match header.is_of_go() {
        true => remote.url.to_string(),
        false => format!("{:x}", header.cluster_id),
    }
}

/// A walk through both stores at once.
struct Walk {
    source: Entries,
    target: Entries,
    leases: Leases,
    target_is_go: bool,
    expired: u64,
}

impl Walk {
    /// Returns the next entry, with the lease that it has in the target.
    async fn next_wanted(&mut self, target: &Remote) -> Result<Option<Entry>, MigrateError> {
        while let Some(mut entry) = self.source.next().await? {
            if let Some(lease) = self.leases.id(target, entry.lease).await? {
                entry.lease = lease;
                return Ok(Some(entry));
            }
            self.expired += 1;
        }
        Ok(None)
    }

    /// Reads the next wanted and the next present entry in place of those that a step has taken.
    async fn refill(
        &mut self,
        target: &Remote,
        (wanted, present): (&mut Option<Entry>, &mut Option<Entry>),
        progress: &mut Progress,
    ) -> Result<(), MigrateError> {
        if wanted.is_none() {
            progress.advance(1);
            *wanted = self.next_wanted(target).await?;
        }
        if present.is_none() {
            *present = self.target.next().await?;
        }
        Ok(())
    }

    /// Copies all entries. Returns the outcome of the writes, and the number of entries that were there.
    async fn copy(&mut self, remote: &Remote, count: u64) -> Result<(Outcome, u64), MigrateError> {
        let is_go = self.target_is_go;
        let mut writer = Target::new(remote.clone(), is_go);
        let mut progress = Progress::keys("copying", Some(count));
        let mut kept = 0;
        let mut wanted = self.next_wanted(remote).await?;
        let mut present = self.target.next().await?;
        while let Some(step) = step(&mut wanted, &mut present, |a, b| is_same(a, b, is_go)) {
            match step {
                Step::Put(entry) => writer.write(Write::Put(entry)).await?,
                Step::Delete(key) => writer.write(Write::Delete(key)).await?,
                Step::Keep(_) => kept += 1,
            }
            self.refill(remote, (&mut wanted, &mut present), &mut progress)
                .await?;
        }
        progress.finish();
        Ok((writer.finish().await?, kept))
    }

    /// Reads both, and compares every key, value and lease.
    async fn check(&mut self, remote: &Remote, count: u64) -> Result<Total, MigrateError> {
        let is_go = self.target_is_go;
        let mut progress = Progress::keys("comparing", Some(count));
        let (mut from, mut to) = (Tally::default(), Tally::default());
        let mut differing = Vec::new();
        let mut wanted = self.next_wanted(remote).await?;
        let mut present = self.target.next().await?;
        while wanted.is_some() || present.is_some() {
            let found = present.clone();
            match step(&mut wanted, &mut present, |a, b| is_same(a, b, is_go)) {
                Some(Step::Keep(entry)) => {
                    let found = found.expect("both are the same");
                    let lease = |entry: &Entry| match is_go {
                        true => i64::from(entry.lease != 0),
                        false => entry.lease,
                    };
                    from.add(&entry, lease(&entry));
                    to.add(&found, lease(&found));
                }
                Some(Step::Put(entry)) if is_gone(remote, entry.lease, is_go).await? => {
                    self.expired += 1;
                }
                Some(Step::Put(entry)) => differing.push(entry.key),
                Some(Step::Delete(key)) => differing.push(key),
                None => break,
            }
            if differing.len() > NAMED_KEYS {
                break;
            }
            self.refill(remote, (&mut wanted, &mut present), &mut progress)
                .await?;
        }
        progress.finish();
        let (from, to) = (from.finish(), to.finish());
        match differing.is_empty() && from == to {
            true => Ok(to),
            false => Err(MigrateError::Differs(name(&differing))),
        }
    }
}

/// Returns whether both entries are the same. In the Go k8s-dqlite the id of a lease is its TTL.
fn is_same(wanted: &Entry, present: &Entry, is_go: bool) -> bool {
    let is_lease_same = match is_go {
        true => (wanted.lease == 0) == (present.lease == 0),
        false => wanted.lease == present.lease,
    };
    is_lease_same && wanted.value == present.value
}

/// Returns whether the lease ended in the target meanwhile.
async fn is_gone(target: &Remote, lease: i64, is_go: bool) -> Result<bool, MigrateError> {
    if lease == 0 || is_go {
        return Ok(lease != 0);
    }
    let request = LeaseTimeToLiveRequest {
        id: lease,
        keys: false,
    };
    let answer = target.lease.clone().lease_time_to_live(request).await;
    let answer = answer.map_err(|status| target.failed(&status))?;
    Ok(answer.into_inner().ttl < 0)
}

fn name(differing: &[bytes::Bytes]) -> String {
    let shown = differing.iter().take(NAMED_KEYS);
    let shown: Vec<_> = shown.map(|key| key.escape_ascii().to_string()).collect();
    let more = if differing.len() > NAMED_KEYS {
        " and more"
    } else {
        ""
    };
    format!("they differ at {}{more}", shown.join(", "))
}
