//! The sub-command `status`: what every node of a cluster says about itself, asked from the directory of
//! any one of them.
//!
//! Needs nothing but the files of the directory: they say who the nodes are, and hold the pair that lets
//! one in at their dqlite ports. Invariant: a node that cannot be reached is in the report, with the reason.

mod gather;
mod judge;
mod report;

use std::path::{Path, PathBuf};

use dqlite::{
    files::{read_cluster, read_cluster_id, read_info},
    tls::{Pair, Tls, TlsError, TlsVersion},
    wire::Server,
};

pub use self::{
    gather::{Gathered, NodeAnswer, gather},
    judge::{Finding, Health, Kind, NodeState, Verdict, failures, judge},
    report::{CERTIFICATE_WARNING_DAYS, DAY_S, NodeReport, Report},
};
use crate::config::{self, ConfigError};

/// The nodes to ask for their status, and the certificates for that.
#[derive(Debug)]
pub struct StatusTargets {
    pub own: Server,
    pub servers: Vec<Server>,
    pub tls: Option<Tls>,
    /// The history that the directory belongs to; none in one of an older version.
    pub cluster_id: Option<u64>,
    pub certificate_expires_s: Option<i64>,
}

impl StatusTargets {
    /// Reads the files of a node. If `enable_tls` is `None`, the files decide.
    pub fn read(dir: &Path, enable_tls: Option<bool>) -> Result<Self, ConfigError> {
        let own = read_info(dir)?.ok_or_else(|| ConfigError::Invalid {
            path: dir.to_owned(),
            reason: "there is no info.yaml: this is not the storage directory of a node".to_owned(),
        })?;
        let mut servers = read_cluster(dir)?.unwrap_or_default();
        if servers.iter().all(|server| server.address != own.address) {
            servers.push(own.clone());
        }
        let certificate = dir.join("cluster.crt");
        let (tls, certificate_expires_s) = match enable_tls.unwrap_or(certificate.exists()) {
            true => (
                Some(config::load_pair(dir, TlsVersion::default())?),
                Some(expires_s(certificate, dir.join("cluster.key"))?),
            ),
            false => (None, None),
        };
        Ok(Self {
            own,
            servers,
            tls,
            cluster_id: read_cluster_id(dir)?.map(|history| history.id),
            certificate_expires_s,
        })
    }
}

fn expires_s(certificate: PathBuf, key: PathBuf) -> Result<i64, ConfigError> {
    let pair = Pair::load(&certificate, &key).map_err(ConfigError::Tls)?;
    let expires = pair.expires_s();
    expires.map_err(|error| ConfigError::Tls(TlsError::Refused(error)))
}

#[cfg(test)]
mod tests;
