//! All nodes of the cluster, asked with whichever of two pairs they take.

use std::{path::Path, time::Duration};

use dqlite::{
    cluster::resolver,
    tls::{PemPair, Rotation, RotationStep, Tls, TlsVersion},
    wire::Server,
};
use peer_proto::{CertificatesRequest, CertificatesResponse};
use tokio::{task::JoinSet, time::timeout};

use super::CertsError;
use crate::{
    cluster::{
        certificates::NodeState,
        peer::{Dialer, NotMade},
        status::{StatusTargets, gather},
    },
    config::{self, ConfigError},
};

/// A step is a few files on the disk of a node.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);

/// The nodes, and the pairs with which they are reached.
pub struct AllNodes {
    targets: StatusTargets,
    /// The pair of the directory, and the one on the way to which the nodes are, if that is known here.
    pub own: PemPair,
    pub new: Option<PemPair>,
}

/// The answer of a node, or why there is none.
pub type Answer = (Server, Result<NodeState, NotMade>);

impl AllNodes {
    pub fn read(dir: &Path) -> Result<Self, CertsError> {
        let targets = StatusTargets::read(dir, None)?;
        if targets.tls.is_none() {
            return Err(CertsError::Refused(format!(
                "{} has no cluster.crt: its nodes speak no TLS with each other",
                dir.display()
            )));
        }
        let (own, new) = match config::rotation(dir)? {
            Some(Rotation { new, former, .. }) => (former, Some(new)),
            None => {
                let own = PemPair::read(dir);
                let unreadable = |source| ConfigError::Unreadable {
                    path: dir.join(config::KEY),
                    source,
                };
                (own.map_err(unreadable)?, None)
            }
        };
        Ok(Self { targets, own, new })
    }

    /// The address of the node whose directory was read.
    pub fn own_address(&self) -> &str {
        &self.targets.own.address
    }

    /// Finds out who the nodes are, from the leader, and asks all of them. Without a leader, those that are known are
    /// asked, and the flag is false.
    pub async fn ask(&mut self) -> Result<(Vec<Answer>, bool), CertsError> {
        let mut has_leader = false;
        for way in self.ways()? {
            self.targets.tls = Some(way);
            let gathered = gather(&self.targets, None).await;
            has_leader = gathered.leader().is_some();
            if has_leader && let Some(servers) = gathered.servers() {
                self.targets.servers = servers.to_vec();
                break;
            }
        }
        let servers = self.targets.servers.clone();
        let all = (0..servers.len()).collect::<Vec<_>>();
        let only_tell = CertificatesRequest::default();
        let told = self.make(&servers, &all, &only_tell).await?;
        let answers = told.into_iter().map(|(at, told)| {
            let server = servers[at].clone();
            let state = told.map(|told| NodeState::new(&server.address, told));
            (server, state)
        });
        Ok((answers.collect(), has_leader))
    }

    /// Has some of these nodes, by their positions, make a step, all at once. Returns what they say, by position.
    pub async fn make(
        &self,
        servers: &[Server],
        at: &[usize],
        request: &CertificatesRequest,
    ) -> Result<Vec<(usize, Result<CertificatesResponse, NotMade>)>, CertsError> {
        let ways = self.ways()?;
        let mut asking = JoinSet::new();
        for at in at.iter().copied() {
            let (ways, request) = (ways.clone(), request.clone());
            let address = servers[at].address.clone();
            asking.spawn(async move { (at, ask(&ways, &address, &request).await) });
        }
        let mut answers = asking.join_all().await;
        answers.sort_by_key(|(at, _)| *at);
        Ok(answers)
    }

    /// The ways to a node: it takes the new pair, the former one, or both. Nothing older than TLS 1.3, whose recordings
    /// nobody can read who gets hold of a key later.
    fn ways(&self) -> Result<Vec<Tls>, CertsError> {
        let pairs = match &self.new {
            None => vec![self.own.clone()],
            Some(new) => {
                let rotation = |step| Rotation {
                    step,
                    new: new.clone(),
                    former: self.own.clone(),
                };
                [RotationStep::Use, RotationStep::Trust]
                    .map(|step| rotation(step).files())
                    .to_vec()
            }
        };
        let ways = pairs.iter().map(|pair| {
            let pair = pair.open("the pair of the cluster");
            pair.and_then(|pair| Tls::of_pair(&pair, TlsVersion::Tls13))
        });
        let ways = ways.collect::<Result<Vec<_>, _>>();
        Ok(ways.map_err(ConfigError::Tls)?)
    }
}

async fn ask(
    ways: &[Tls],
    address: &str,
    request: &CertificatesRequest,
) -> Result<CertificatesResponse, NotMade> {
    let mut last = NotMade::Unreachable("there is no pair".to_owned());
    for way in ways {
        let dialer = Dialer::new(resolver(Some(way.clone())));
        let asked = timeout(STEP_TIMEOUT, dialer.certificates(address, request.clone()));
        last = match asked.await {
            Ok(Ok(told)) => return Ok(told),
            Ok(Err(refused @ NotMade::Refused(_))) => return Err(refused),
            Ok(Err(unreachable)) => unreachable,
            Err(_) => {
                NotMade::Unreachable(format!("no answer within {} s", STEP_TIMEOUT.as_secs()))
            }
        };
    }
    Err(last)
}
