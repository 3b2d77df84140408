//! Asks the nodes for step after step, until all have made the last.

use std::{fmt::Write, time::Duration};

use dqlite::{tls::Fingerprint, wire::Server};
use peer_proto::{CertificateStep, CertificatesRequest};
use tokio::time::{Instant, sleep};

use super::{
    CertsError, manager,
    nodes::{AllNodes, Answer},
    pair,
};
use crate::{
    address::NodeAddress,
    args::CertsRotateArgs,
    cluster::{
        certificates::{Next, NodeState, cancel, next},
        peer::NotMade,
    },
    config::ConfigError,
};

/// Three steps, and some more for nodes that join meanwhile.
const MAX_ROUNDS: usize = 16;

/// Elections end within a second, unless the machines are very busy.
const LEADER_TIMEOUT: Duration = Duration::from_secs(20);

/// A node that does not answer is asked this often before that is an error.
const MIN_LOOKS: usize = 2;

const PAUSE: Duration = Duration::from_millis(500);

pub async fn run(args: &CertsRotateArgs, now_s: i64) -> Result<String, CertsError> {
    let mut nodes = AllNodes::read(&args.storage_dir)?;
    let mut said = String::new();
    // The new and the former pair.
    let mut known = None;
    for _ in 0..MAX_ROUNDS {
        let (servers, states) = all(&mut nodes).await?;
        if args.cancel {
            return cancelled(&nodes, &servers, &states).await;
        }
        match next(&states, known.as_ref())? {
            Next::Begin(former) => {
                let new = pair::new(args, &nodes.own, &hosts(&servers), now_s).await?;
                let print = new.open("the new pair").map_err(ConfigError::Tls)?;
                if print.fingerprint() == former {
                    return Err(CertsError::Refused(
                        "all nodes use this certificate already: nothing was changed".to_owned(),
                    ));
                }
                known = Some((print.fingerprint(), former));
                nodes.new = Some(new);
            }
            Next::Step(step, missing) => {
                if args.cert.is_some() && known.is_none() {
                    return Err(CertsError::Refused(
                        "the nodes are on their way to a new pair already: finish that without --cert and --key, or end it \
                         with --cancel"
                            .to_owned(),
                    ));
                }
                make(&nodes, (&servers, &states), (step, missing), known.as_ref()).await?;
                if known.is_none() {
                    known = on_their_way(&states);
                }
                let _ = writeln!(said, "{}", done(step));
            }
            Next::Done => {
                let shown = states.first().map(|state| state.shown.to_string());
                let shown = shown.unwrap_or_default();
                let nodes = states.len();
                let _ = writeln!(said, "All {nodes} nodes use the new pair, SHA-256 {shown}");
                said += &manager::tell(args, &shown).await?;
                return Ok(said);
            }
        }
    }
    Err(CertsError::Refused(
        "the nodes have changed too often meanwhile: run the same command again".to_owned(),
    ))
}

/// Asks all nodes, and fails unless all answer. An election, or a node that has just been started, is waited for.
async fn all(nodes: &mut AllNodes) -> Result<(Vec<Server>, Vec<NodeState>), CertsError> {
    let deadline = Instant::now() + LEADER_TIMEOUT;
    let mut looks = 0;
    loop {
        looks += 1;
        let (answers, has_leader) = nodes.ask().await?;
        let is_last = Instant::now() >= deadline;
        match each(answers) {
            Err(CertsError::Unreachable(_)) if looks < MIN_LOOKS && !is_last => {}
            Err(error) => return Err(error),
            Ok(all) if has_leader => return Ok(all),
            Ok(_) if is_last => {
                return Err(CertsError::Unreachable(
                    "the nodes have no leader, which says who they are: see `k8s-dqlite status`, and run the same command \
                     again"
                        .to_owned(),
                ));
            }
            Ok(_) => {}
        }
        sleep(PAUSE).await;
    }
}

fn each(answers: Vec<Answer>) -> Result<(Vec<Server>, Vec<NodeState>), CertsError> {
    let mut states = Vec::with_capacity(answers.len());
    let mut servers = Vec::with_capacity(answers.len());
    for (server, answer) in answers {
        states.push(answer.map_err(|reason| not_made(&server.address, reason))?);
        servers.push(server);
    }
    Ok((servers, states))
}

fn hosts(servers: &[Server]) -> Vec<String> {
    let addresses = servers.iter().map(|server| server.address.parse());
    let hosts = addresses.filter_map(Result::ok);
    hosts
        .map(|address: NodeAddress| address.host().to_owned())
        .collect()
}

fn not_made(address: &str, reason: NotMade) -> CertsError {
    match reason {
        NotMade::Unreachable(reason) => CertsError::Unreachable(format!(
            "the node at {address} does not answer: {reason}. A step needs all nodes, and nothing is half done: the cluster \
             serves on. Start that node and run the same command again; if it is gone for good, remove it from the cluster \
             first (`etcdctl member remove`). With a pair that has expired, replace it by hand: docs/operations.md, \
             \"Certificates\""
        )),
        NotMade::Refused(reason) => CertsError::Refused(format!(
            "the node at {address} refuses: {reason}. The cluster serves on; run the same command again then"
        )),
    }
}

/// Returns the new and the former pair's fingerprints, as a node tells them.
fn on_their_way(states: &[NodeState]) -> Option<(Fingerprint, Fingerprint)> {
    states.iter().find_map(|state| state.pairs.clone())
}

/// Has the nodes make a step: the own one first, which keeps the new pair for the next attempt; with the last step it
/// comes last.
async fn make(
    nodes: &AllNodes,
    (servers, states): (&[Server], &[NodeState]),
    (step, missing): (CertificateStep, Vec<usize>),
    known: Option<&(Fingerprint, Fingerprint)>,
) -> Result<(), CertsError> {
    let mut request = CertificatesRequest::default();
    request.set_step(step);
    if let Some((new, former)) = on_their_way(states).as_ref().or(known) {
        request.new = new.to_bytes();
        request.former = former.to_bytes();
    }
    if step == CertificateStep::Trust {
        let Some(new) = &nodes.new else {
            return Err(CertsError::Refused(format!(
                "the new pair is not on this node: run the same command on {}",
                holders(states)
            )));
        };
        request.certificate.clone_from(&new.certificate);
        request.key.clone_from(&new.key);
    }
    let is_own = |at: &usize| servers[*at].address == nodes.own_address();
    let (own, others): (Vec<usize>, Vec<usize>) = missing.into_iter().partition(is_own);
    let turns = match step {
        CertificateStep::Drop => [others, own],
        _ => [own, others],
    };
    for turn in turns {
        for (at, told) in nodes.make(servers, &turn, &request).await? {
            told.map_err(|reason| not_made(&servers[at].address, reason))?;
        }
    }
    Ok(())
}

fn holders(states: &[NodeState]) -> String {
    let holders = states.iter().filter(|state| state.pairs.is_some());
    let holders: Vec<&str> = holders.map(|state| state.address.as_str()).collect();
    holders.join(" or ")
}

async fn cancelled(
    nodes: &AllNodes,
    servers: &[Server],
    states: &[NodeState],
) -> Result<String, CertsError> {
    let missing = cancel(states)?;
    if missing.is_empty() {
        return Ok("No node is on its way to another pair\n".to_owned());
    }
    // The own one forgets the new pair last: until then this can be repeated.
    let is_own = |at: &usize| servers[*at].address == nodes.own_address();
    let (own, others): (Vec<usize>, Vec<usize>) = missing.into_iter().partition(is_own);
    let mut request = CertificatesRequest::default();
    request.set_step(CertificateStep::Cancel);
    request.new = on_their_way(states)
        .map(|(new, _)| new.to_bytes())
        .unwrap_or_default();
    for turn in [others, own] {
        for (at, told) in nodes.make(servers, &turn, &request).await? {
            told.map_err(|reason| not_made(&servers[at].address, reason))?;
        }
    }
    Ok("Cancelled: all nodes have the former pair alone\n".to_owned())
}

fn done(step: CertificateStep) -> &'static str {
    match step {
        CertificateStep::Trust => "1 of 3: all nodes trust the new pair and the former one",
        CertificateStep::Use => "2 of 3: all nodes use the new pair",
        CertificateStep::Drop => "3 of 3: no node trusts the former pair any more",
        CertificateStep::None | CertificateStep::Cancel => "",
    }
}
