//! `.status`: every node at one look, also where no leader is found.

use std::collections::BTreeSet;

use dqlite::wire::{Row, Server, Value};

use super::survey::{Answer, survey};
use crate::error::ShellError;
use crate::shell::Shell;

const COLUMNS: [&str; 9] = [
    "address",
    "id",
    "role",
    "leader",
    "failure_domain",
    "weight",
    "reachable",
    "round_trip_ms",
    "error",
];

pub async fn status(shell: &mut Shell) -> Result<(), ShellError> {
    let found = match shell.session.leader().await {
        Ok(mut leader) => Ok(leader.cluster().await?),
        Err(error) => Err(error),
    };
    let named = shell.session.servers.addresses.clone();
    let addresses: Vec<String> = match &found {
        Ok(servers) => servers
            .iter()
            .map(|server| server.address.clone())
            .collect(),
        Err(_) => named
            .into_iter()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect(),
    };
    let answers = survey(&shell.session.servers, &addresses).await;
    let servers = found.as_deref().unwrap_or_default();
    let rows = answers.iter().map(|answer| row(answer, servers));
    shell.rows(&COLUMNS, rows)?;
    found.map(drop)
}

fn row(answer: &Answer, servers: &[Server]) -> Row {
    let text = |text: &str| Value::Text(text.to_owned());
    let number = |number: u64| Value::Integer(number.try_into().unwrap_or(i64::MAX));
    let member = servers
        .iter()
        .find(|server| server.address == answer.address);
    let about = answer.asked.as_ref().ok();
    Row(vec![
        text(&answer.address),
        member.map_or(Value::Null, |member| {
            Value::Text(format!("{:x}", member.id))
        }),
        member.map_or(Value::Null, |member| text(member.role.name())),
        match about {
            Some(about) => Value::Boolean(about.leader.as_ref() == Some(&answer.address)),
            None => Value::Null,
        },
        about.map_or(Value::Null, |about| number(about.metadata.failure_domain)),
        about.map_or(Value::Null, |about| number(about.metadata.weight)),
        Value::Boolean(about.is_some()),
        match about {
            // Microseconds are what differs on one machine.
            Some(about) => Value::Float((about.round_trip.as_secs_f64() * 1e6).round() / 1e3),
            None => Value::Null,
        },
        answer
            .asked
            .as_ref()
            .err()
            .map_or(Value::Null, |error| text(error)),
    ])
}
