//! The datastore that the cluster runs, k8s-dqlite: its key pair, its directory on this node, its own dqlite
//! cluster.
//!
//! | Module | Owns |
//! |---|---|
//! | `pair` | the pair that all its nodes share |
//! | `failure_domain` | the number of a failure domain. Pure |
//! | `directory` | which files the storage directory has, and which are missing |
//! | `journal` | writing to the directory, and undoing it |
//! | `servers` | the datastore's dqlite cluster |
//!
//! Invariants: nothing that is there is overwritten or deleted, but what this program wrote and nobody has
//! used yet; a node is never told to begin a second cluster.

mod directory;
mod failure_domain;
pub mod journal;
mod pair;
pub mod servers;

use std::net::{IpAddr, Ipv6Addr};

use tokio::task::spawn_blocking;

use crate::{
    Error,
    api::{DatastoreAdmission, DatastoreRequest, TakenPair},
    certificate::PemPair,
    cluster::Cluster,
    state::StateDir,
};

use directory::Survey;

pub use pair::read as read_pair;

/// The datastore that a node is to have, and the files that it has already.
pub struct Datastore {
    request: DatastoreRequest,
    failure_domain: Option<u64>,
    survey: Survey,
}

impl Datastore {
    /// Reads the directory and writes nothing.
    pub fn look(request: DatastoreRequest) -> Result<Self, Error> {
        check_address(&request.address)?;
        let label = request.failure_domain.as_deref();
        let failure_domain = label.map(failure_domain::number);
        Ok(Self {
            survey: directory::survey(&request, failure_domain)?,
            failure_domain,
            request,
        })
    }

    pub fn address(&self) -> &str {
        &self.request.address
    }

    /// The pair of a new cluster: that of the directory, else a new one.
    pub async fn pair(&self, name: &str, now_s: i64) -> Result<PemPair, Error> {
        if let Some(pair) = &self.survey.pair {
            return Ok(pair.clone());
        }
        let (name, address) = (name.to_owned(), self.request.address.clone());
        let made = spawn_blocking(move || pair::generate(&name, host(&address), now_s));
        Ok(made.await.expect("making a pair does not panic")?)
    }

    /// Checks that a node which runs here already still belongs to its datastore. Called before the cluster is asked to
    /// let this node in.
    pub async fn check_joins(&self) -> Result<(), Error> {
        let dir = self.request.dir.display();
        if self.survey.has_init {
            return Err(Error::Conflict(format!(
                "{dir} has an init.yaml already: move it away; joining writes one"
            )));
        }
        let (Some(own), Some(pair)) = (&self.survey.node, &self.survey.pair) else {
            return Ok(());
        };
        let known = self.survey.cluster.iter().map(|s| s.address.clone());
        let servers = servers::list(pair, known.collect(), servers::CHANGE_TIMEOUT).await?;
        let is_known = |server: &dqlite::wire::Server| {
            server.id == own.id && server.address == self.request.address
        };
        match servers.iter().any(is_known) {
            true => Ok(()),
            false => Err(Error::Conflict(format!(
                "{dir} holds the data of a node that its datastore does not have any more: move all of \
                 it away, and join again"
            ))),
        }
    }

    /// Plans the files of the first node.
    pub fn begin(self, pair: &PemPair) -> Result<Plan, Error> {
        self.plan(pair, &[])
    }

    /// Plans the files of a node that was let in.
    pub fn enter(self, admitted: Option<DatastoreAdmission>) -> Result<Plan, Error> {
        let admitted = admitted.ok_or_else(no_datastore)?;
        let pair = PemPair {
            certificate: admitted.certificate,
            key: admitted.key,
        };
        pair::check(&pair)?;
        let dir = self.request.dir.display();
        if let Some(found) = &self.survey.pair
            && !pair::is_same(found, &pair)?
        {
            return Err(Error::Conflict(format!(
                "cluster.crt and cluster.key in {dir} are those of another cluster: move them away"
            )));
        }
        let mut others = admitted.addresses;
        others.retain(|other| !other.is_empty() && *other != self.request.address);
        // Without others, the server would begin a cluster of its own.
        if others.is_empty() {
            return Err(no_datastore());
        }
        let knows_one = || others.iter().any(|other| self.survey.knows(other));
        if self.survey.node.is_some() && !knows_one() {
            return Err(Error::Conflict(format!(
                "the node in {dir} belongs to another datastore: move its data away"
            )));
        }
        self.plan(&pair, &others)
    }

    fn plan(self, pair: &PemPair, others: &[String]) -> Result<Plan, Error> {
        let missing = self
            .survey
            .missing(&self.request, pair, others, self.failure_domain);
        Ok(Plan {
            files: missing?,
            request: self.request,
        })
    }
}

/// The files that are to be written.
pub struct Plan {
    request: DatastoreRequest,
    files: Vec<(&'static str, String)>,
}

impl Plan {
    pub async fn write(self, state: &StateDir) -> Result<(), Error> {
        let state = state.clone();
        let written = spawn_blocking(move || journal::write(&state, &self.request, &self.files));
        written.await.expect("writing does not panic")
    }
}

/// Keeps this pair for nodes that join from now on, once the datastore has taken it.
pub(crate) async fn take_pair(cluster: &Cluster, pair: &PemPair) -> Result<TakenPair, Error> {
    pair::check(pair)?;
    let Some(former) = cluster.database.datastore_pair().await? else {
        return Ok(TakenPair::NoDatastore);
    };
    if former.certificate == pair.certificate && former.key == pair.key {
        return Ok(TakenPair::HadAlready);
    }
    let known = cluster.database.datastore_addresses().await?;
    let asked = servers::list(pair, known.into_values().collect(), servers::CHANGE_TIMEOUT).await;
    asked.map_err(|error| {
        Error::Unavailable(format!(
            "nothing was changed: the datastore has to answer to the new pair first ({error})"
        ))
    })?;
    cluster.database.put_datastore_pair(pair).await?;
    Ok(TakenPair::New)
}

pub fn no_datastore() -> Error {
    Error::Conflict(
        "No member of this cluster runs a datastore: join without --datastore-dir".to_owned(),
    )
}

/// `host:port` that other nodes can dial, as the server wants it.
pub fn check_address(address: &str) -> Result<(), Error> {
    let invalid = |reason: &str| {
        Err(Error::Invalid(format!(
            "Invalid datastore address {address:?}: {reason}"
        )))
    };
    let Some((host, port)) = address.rsplit_once(':') else {
        return invalid("it must be host:port");
    };
    if !port.parse::<u16>().is_ok_and(|port| port > 0) || port.starts_with('+') {
        return invalid("the port must be a number from 1 to 65535");
    }
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let ip = match bracketed {
        Some(inner) => match inner.parse::<Ipv6Addr>() {
            Ok(ip) => Some(IpAddr::V6(ip)),
            Err(_) => return invalid("that is no IPv6 address"),
        },
        None => host.parse().ok(),
    };
    if ip.is_some_and(|ip: IpAddr| ip.is_unspecified()) {
        return invalid("other nodes cannot dial it");
    }
    let is_name = || crate::certificate::check_name(host).is_ok();
    if ip.is_none() && !is_name() {
        return invalid("the host is neither an IP address nor a name");
    }
    if bracketed.is_none() && matches!(ip, Some(IpAddr::V6(_))) {
        return invalid("an IPv6 address stands in brackets");
    }
    Ok(())
}

/// Returns the host without port and brackets.
fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_that_others_dial() {
        for good in ["10.0.0.1:9000", "[fd00::1]:9000", "node-1.example:1"] {
            check_address(good).unwrap();
        }
        for bad in [
            "",
            "10.0.0.1",
            "10.0.0.1:0",
            "10.0.0.1:65536",
            "10.0.0.1:+9",
            ":9000",
            "0.0.0.0:9000",
            "[::]:9000",
            "::1:9000",
            "a b:9000",
            "x\n- y:9000",
        ] {
            assert!(check_address(bad).is_err(), "{bad:?}");
        }
        assert_eq!(host("[::1]:9000"), "::1");
    }
}
