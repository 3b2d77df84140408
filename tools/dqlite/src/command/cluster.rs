//! The original's commands that look at the cluster, with its output.

use dqlite::client::Connection;
use dqlite::wire::Server;

use crate::error::ShellError;
use crate::render::{Format, quoted, tab_indented};
use crate::shell::Shell;

pub async fn cluster(shell: &mut Shell) -> Result<(), ShellError> {
    let servers = shell.session.leader().await?.cluster().await?;
    let text = match shell.style.format {
        Format::Json => format!(
            "[\n{}\n]",
            servers.iter().map(member).collect::<Vec<_>>().join(",\n")
        ),
        _ => {
            let line = |server: &Server| {
                format!("{:x}|{}|{}", server.id, server.address, server.role.name())
            };
            servers.iter().map(line).collect::<Vec<_>>().join("\n")
        }
    };
    shell.output.line(&text)
}

fn member(server: &Server) -> String {
    let members = [
        ("ID", server.id.to_string()),
        ("Address", quoted(&server.address)),
        ("Role", (server.role as u8).to_string()),
    ];
    format!("\t{}", tab_indented(&members, 1))
}

pub async fn leader(shell: &mut Shell) -> Result<(), ShellError> {
    let leader = shell.session.leader().await?.leader().await?;
    match leader {
        Some(leader) => shell.output.line(&leader.address),
        None => Ok(()),
    }
}

pub async fn describe(shell: &mut Shell, address: &str) -> Result<(), ShellError> {
    let metadata = node(shell, address).await?.describe().await?;
    let (domain, weight) = (metadata.failure_domain, metadata.weight);
    let text = match shell.style.format {
        Format::Json => {
            let members = [
                ("FailureDomain", domain.to_string()),
                ("Weight", weight.to_string()),
            ];
            tab_indented(&members, 0)
        }
        _ => format!("{address}|{domain}|{weight}"),
    };
    shell.output.line(&text)
}

pub async fn weight(shell: &mut Shell, address: &str, weight: &str) -> Result<(), ShellError> {
    // The original counts in a signed number.
    let Some(weight) = weight
        .parse()
        .ok()
        .filter(|weight| *weight <= i64::MAX as u64)
    else {
        return Err(ShellError::usage(format!("bad weight {}", quoted(weight))));
    };
    let mut node = node(shell, address).await?;
    shell.session.begin_change();
    Ok(node.set_weight(weight).await?)
}

/// A connection to the node at an address, whether it leads or not.
pub async fn node(shell: &Shell, address: &str) -> Result<Connection, ShellError> {
    let servers = &shell.session.servers;
    let connected = Connection::connect(&servers.endpoint(address), servers.options).await;
    connected.map_err(|error| ShellError::from(error).within(|text| format!("{address}: {text}")))
}
