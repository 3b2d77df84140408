//! The commands that change the nodes of the cluster and their roles.
//!
//! A change that leaves fewer voters that answer than a majority would stop the cluster, perhaps for good:
//! it is refused without `--force`.

use dqlite::client::{Connection, Error as ClientError};
use dqlite::node::generate_node_id;
use dqlite::wire::{NodeId, Role, Server};

use super::survey::survey;
use crate::error::ShellError;
use crate::render::quoted;
use crate::shell::Shell;

pub async fn add(shell: &mut Shell, address: &str, id: Option<&str>) -> Result<(), ShellError> {
    let id = match id {
        // As .cluster prints it.
        Some(id) => u64::from_str_radix(id, 16)
            .ok()
            .map(NodeId::new)
            .filter(|id| !id.is_unknown()),
        None => generate_node_id(address).ok(),
    };
    let Some(id) = id else {
        return Err(ShellError::usage(
            "bad id: it is hexadecimal, as in .cluster, and not 0",
        ));
    };
    let (mut leader, servers) = members(shell).await?;
    if servers.iter().any(|server| server.address == address) {
        return Err(ShellError::refused(format!(
            "a node has the address {} already",
            quoted(address)
        )));
    }
    shell.session.begin_change();
    leader.add(id, address).await?;
    shell
        .output
        .line(&format!("{id:x}|{address}|{}", Role::Spare.name()))
}

pub async fn assign(shell: &mut Shell, address: &str, role: &str) -> Result<(), ShellError> {
    let role = match role {
        "voter" => Role::Voter,
        "stand-by" | "standby" => Role::StandBy,
        "spare" => Role::Spare,
        other => {
            let other = quoted(other);
            return Err(ShellError::usage(format!(
                "bad role {other}: voter, stand-by or spare"
            )));
        }
    };
    let (mut leader, servers) = members(shell).await?;
    let node = named(&servers, address)?;
    if node.role == role {
        return Ok(());
    }
    if node.role == Role::Voter {
        check_majority(shell, &servers, address).await?;
    }
    shell.session.begin_change();
    Ok(leader.assign(node.id, role).await?)
}

pub async fn transfer(shell: &mut Shell, address: &str) -> Result<(), ShellError> {
    let (mut leader, servers) = members(shell).await?;
    let node = named(&servers, address)?;
    if node.role != Role::Voter {
        let role = node.role.name();
        return Err(ShellError::refused(format!(
            "{address} is a {role}, only a voter can lead"
        )));
    }
    shell.session.begin_change();
    Ok(leader.transfer(node.id).await?)
}

pub async fn remove(shell: &mut Shell, address: &str) -> Result<(), ShellError> {
    let (mut leader, servers) = members(shell).await?;
    let node = named(&servers, address)?;
    if servers.len() == 1 {
        return Err(ShellError::refused(format!(
            "{address} is the last node: removing it would end its server and the cluster with it"
        )));
    }
    if node.role == Role::Voter {
        check_majority(shell, &servers, address).await?;
    }
    let (role, count) = (node.role.name(), servers.len());
    shell.confirm(&format!(
        "Remove {address}, a {role}, from the cluster of {count} nodes?"
    ))?;
    shell.session.begin_change();
    leader.remove(node.id).await.map_err(|error| {
        let error = match error {
            ClientError::NotLeader => {
                ShellError::Unreachable("another node leads now, try again".to_owned())
            }
            other => other.into(),
        };
        error.within(|text| format!("remove node {}: {text}", quoted(address)))
    })
}

async fn members(shell: &mut Shell) -> Result<(Connection, Vec<Server>), ShellError> {
    let mut leader = shell.session.leader().await?;
    let servers = leader.cluster().await?;
    Ok((leader, servers))
}

fn named<'a>(servers: &'a [Server], address: &str) -> Result<&'a Server, ShellError> {
    let found = servers.iter().find(|server| server.address == address);
    found.ok_or_else(|| ShellError::refused(format!("no node has address {}", quoted(address))))
}

/// Fails unless the voters that answer are a majority without the one at `leaving`, or the user forces it.
async fn check_majority(
    shell: &Shell,
    servers: &[Server],
    leaving: &str,
) -> Result<(), ShellError> {
    if shell.force {
        return Ok(());
    }
    let is_staying = |server: &&Server| server.role == Role::Voter && server.address != leaving;
    let staying: Vec<String> = servers
        .iter()
        .filter(is_staying)
        .map(|server| server.address.clone())
        .collect();
    let answers = survey(&shell.session.servers, &staying).await;
    let online = answers.iter().filter(|answer| answer.asked.is_ok()).count();
    if is_majority(online, staying.len()) {
        return Ok(());
    }
    Err(ShellError::refused(format!(
        "without {leaving} there are {} voters, of which {online} answer: no majority, the cluster would stop \
         (--force overrides)",
        staying.len()
    )))
}

fn is_majority(online: usize, voters: usize) -> bool {
    2 * online > voters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_is_more_than_half() {
        for (online, voters, expected) in [
            (0, 0, false),
            (1, 1, true),
            (1, 2, false),
            (2, 2, true),
            (2, 3, true),
            (1, 3, false),
        ] {
            assert_eq!(
                is_majority(online, voters),
                expected,
                "{online} of {voters}"
            );
        }
    }
}
