//! The details that a node tells about itself, beyond who leads.

use std::{path::PathBuf, time::Duration};

use dqlite::{
    node::engine_bytes,
    tls::{Rotation, Tls},
};
use etcd_proto::etcdserverpb::AlarmType;
use etcd_state::requests::RequestError;
use peer_proto::{self as proto, CertificateStep, Details, Pages};
use tokio::time::timeout;

use crate::{
    archive::{ARCHIVE, ArchiveState},
    store::Store,
};

/// The longest wait for the writer, before the details that only it knows are left out.
const WRITER_TIMEOUT: Duration = Duration::from_secs(1);

/// The reason why a leader whose disk is low does not take writes. Nodes send it to each other: it is kept.
pub const DISK_IS_LOW: &str = "its disk is low";

/// The directory of this node's own files, and the pair that it uses.
#[derive(Debug, Clone)]
pub struct OwnFiles {
    pub dir: PathBuf,
    pub tls: Option<Tls>,
}

impl OwnFiles {
    /// Returns how far the node is on its way to another pair. What its connections have counts, as for the steps themselves.
    fn certificate_step(&self) -> CertificateStep {
        let Some((tls, rotation)) = self
            .tls
            .as_ref()
            .zip(Rotation::read(&self.dir).ok().flatten())
        else {
            return CertificateStep::None;
        };
        match rotation.new.open("the new pair") {
            Ok(new) if new.fingerprint() == tls.shown() => CertificateStep::Use,
            _ => CertificateStep::Trust,
        }
    }
}

pub async fn details(store: &Store, files: &OwnFiles, is_ready: bool) -> Details {
    let own = files.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let bytes = engine_bytes(&own.dir).unwrap_or_default();
        (bytes, own.certificate_step())
    });
    let ((log_bytes, snapshot_bytes), step) = reading.await.expect("reading does not panic");
    // Followers would ask the leader, which is asked itself.
    let leads = is_ready && store.leads();
    let (leases, pages, write_refused) = tokio::join!(
        ask_writer(leads, store.lease_list()),
        ask_writer(leads, store.recent_pages()),
        write_refused(leads, store),
    );
    Details {
        is_ready,
        log_bytes,
        snapshot_bytes,
        certificate_expires_s: files.tls.as_ref().and_then(Tls::shown_ends_s),
        certificate_step: step.into(),
        alarms: store.settings().alarms(AlarmType::None),
        leases: leases.map(|ids| ids.len() as u64),
        pages: pages.map(|pages| Pages {
            total: pages.total,
            free: pages.free,
        }),
        write_refused,
        archive: leads.then(|| ARCHIVE.state()).flatten().map(archive),
    }
}

fn archive(state: ArchiveState) -> proto::ArchiveState {
    let (failing_since_s, reason) = state.failing.unwrap_or_default();
    proto::ArchiveState {
        last_revision: state.last_revision.number(),
        behind_s: state.behind_s,
        behind_bytes: state.behind_bytes,
        failing_since_s,
        reason,
    }
}

/// Returns the reason why the leader, this node, does not take writes.
async fn write_refused(leads: bool, store: &Store) -> Option<String> {
    if !leads {
        return None;
    }
    match timeout(WRITER_TIMEOUT, store.probe_write()).await {
        Ok(Ok(())) => None,
        Ok(Err(RequestError::NoSpace)) if store.is_disk_low() => Some(DISK_IS_LOW.to_owned()),
        Ok(Err(error)) => Some(error.to_string()),
        // A writer that is busy is none that refuses.
        Err(_) => None,
    }
}

async fn ask_writer<T>(
    leads: bool,
    question: impl Future<Output = Result<T, RequestError>>,
) -> Option<T> {
    match leads {
        true => timeout(WRITER_TIMEOUT, question).await.ok()?.ok(),
        false => None,
    }
}
