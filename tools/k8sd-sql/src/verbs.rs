//! The commands that ask the daemon, except for SQL.

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use k8sd::{
    api::{
        CheckReport, ClusterMember, Control, DatastorePair, DatastoreRequest, NewToken, TakenPair,
        TokenRecord,
    },
    client::Target,
};
use serde_json::{Value, json};

use crate::{
    args::{self, Certs, Check, Command, Token},
    failure::{Failure, failed, without_quorum},
};

const ASK_TIMEOUT: Duration = Duration::from_secs(30);

/// A join waits for the leader, and for roles; a removal for a promotion.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(150);

const GET: hyper::Method = hyper::Method::GET;
const POST: hyper::Method = hyper::Method::POST;
const PUT: hyper::Method = hyper::Method::PUT;
const DELETE: hyper::Method = hyper::Method::DELETE;

pub async fn run(daemon: &Target, command: Command) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    let change = CHANGE_TIMEOUT;
    match command {
        Command::Bootstrap {
            name,
            address,
            datastore,
        } => {
            let control = Control {
                bootstrap: true,
                name,
                address,
                datastore: wanted(datastore)?,
                ..Control::default()
            };
            eprintln!("Starting a new cluster …");
            let asked = begin(daemon, &control).await;
            asked.map_err(failed("Failed to bootstrap the cluster."))?;
        }
        Command::Join {
            token,
            name,
            address,
            datastore,
        } => {
            let join_token = match token.as_str() {
                "-" => io::read_to_string(io::stdin())?,
                _ => token,
            };
            let control = Control {
                join_token,
                name,
                address,
                datastore: wanted(datastore)?,
                ..Control::default()
            };
            eprintln!("Joining the cluster …");
            let asked = begin(daemon, &control).await;
            asked.map_err(failed("Failed to join the cluster."))?;
        }
        Command::Token(Token::Add { name, ttl }) => {
            let body = json!(NewToken {
                name,
                expire_after: i64::try_from(ttl.as_nanos()).unwrap_or(i64::MAX)
            });
            let asked = daemon
                .call(POST, "/core/control/tokens", Some(&body), change)
                .await;
            let token: String = asked.map_err(failed("Failed to make a join token."))?;
            writeln!(out, "{token}")?;
        }
        Command::Token(Token::List) => {
            let asked = daemon
                .call(GET, "/core/control/tokens", None, ASK_TIMEOUT)
                .await;
            let tokens: Vec<TokenRecord> = asked.map_err(failed("Failed to list the tokens."))?;
            let rows = tokens.into_iter().map(|token| {
                vec![
                    token.name,
                    token.expires_at.unwrap_or_else(|| "never".to_owned()),
                    token.token,
                ]
            });
            let table = tables::columns(&["NAME", "EXPIRES", "TOKEN"], rows);
            out.write_all(table.as_bytes())?;
        }
        Command::Token(Token::Revoke { name }) => {
            let path = format!("/core/1.0/tokens/{name}");
            let asked = daemon.call::<Value>(DELETE, &path, None, ASK_TIMEOUT).await;
            asked.map_err(failed("Failed to revoke the token."))?;
        }
        Command::Members { json } => {
            let asked = daemon
                .call(GET, "/core/1.0/cluster", None, ASK_TIMEOUT)
                .await;
            let members: Vec<ClusterMember> =
                asked.map_err(failed("Failed to list the members."))?;
            print_members(&mut out, &members, json)?;
        }
        Command::Status => {
            let asked = daemon.call(GET, "/core/1.0", None, ASK_TIMEOUT).await;
            let about: Value = asked.map_err(failed("The daemon is not ready."))?;
            // Reads the members' rows, which only a majority can answer.
            let asked = daemon
                .call(GET, "/core/1.0/cluster", None, ASK_TIMEOUT)
                .await;
            let members: Vec<ClusterMember> = asked.map_err(without_quorum)?;
            let text = |key: &str| about[key].as_str().unwrap_or_default().to_owned();
            let online = members.iter().filter(|it| it.status == "ONLINE").count();
            write!(out, "{} {} ready", text("name"), text("address"))?;
            match members.len() {
                all if online < all => writeln!(out, ", {online} of {all} members are online")?,
                _ => writeln!(out)?,
            }
        }
        Command::Remove { name, force } => {
            let path = format!("/core/1.0/cluster/{name}?force={}", u8::from(force));
            let asked = daemon.call::<Value>(DELETE, &path, None, change).await;
            asked.map_err(failed("Failed to remove the member."))?;
        }
        Command::Certs(Certs::Take { dir }) => {
            let taken = take_pair(daemon, &dir).await;
            let taken = taken.map_err(failed("Failed to take the pair."))?;
            let told = match taken {
                TakenPair::New => "Nodes that join get this pair of the datastore from now on",
                TakenPair::HadAlready => "k8sd has this pair of the datastore already",
                TakenPair::NoDatastore => "k8sd knows of no datastore: it keeps no pair",
            };
            writeln!(out, "{told}")?;
        }
        Command::Cluster(Check::Check { repair }) => {
            let path = format!("/core/internal/check?repair={}", u8::from(repair));
            let asked = daemon.call(POST, &path, None, change).await;
            let report: CheckReport = asked.map_err(failed("Failed to check the cluster."))?;
            for finding in &report.findings {
                let is_done = report.repaired.contains(finding);
                writeln!(out, "{finding}{}", if is_done { ": repaired" } else { "" })?;
            }
            if report.findings.len() > report.repaired.len() {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Daemon { .. }
        | Command::Sql(_)
        | Command::Recover(_)
        | Command::Leave
        | Command::Doctor { .. }
        | Command::Shutdown
        | Command::Completion { .. } => unreachable!("these do not ask a daemon"),
    }
    Ok(ExitCode::SUCCESS)
}

async fn take_pair(daemon: &Target, dir: &Path) -> Result<TakenPair, k8sd::Error> {
    let pair = k8sd::read_datastore_pair(dir)?;
    let body = json!(DatastorePair {
        certificate: pair.certificate,
        key: pair.key,
    });
    let path = "/core/internal/datastore/pair";
    daemon.call(PUT, path, Some(&body), ASK_TIMEOUT).await
}

/// Makes the node a member, the first or one more.
async fn begin(daemon: &Target, control: &Control) -> Result<Value, k8sd::Error> {
    let body = json!(control);
    daemon
        .call(POST, "/core/control", Some(&body), CHANGE_TIMEOUT)
        .await
}

pub fn wanted(given: args::Datastore) -> io::Result<Option<DatastoreRequest>> {
    let (Some(dir), Some(address)) = (given.datastore_dir, given.datastore_address) else {
        return Ok(None);
    };
    Ok(Some(DatastoreRequest {
        // The daemon may run in another directory.
        dir: std::path::absolute(dir)?,
        address,
        failure_domain: given.failure_domain,
    }))
}

fn print_members(out: &mut impl Write, members: &[ClusterMember], json: bool) -> io::Result<()> {
    if json {
        return writeln!(out, "{:#}", json!(members));
    }
    let has_datastore = members.iter().any(|m| !m.datastore_address.is_empty());
    let rows = members.iter().map(|member| {
        let mut row = vec![
            member.name.clone(),
            member.address.clone(),
            member.role.clone(),
            member.status.clone(),
            member.last_heartbeat.clone(),
        ];
        if has_datastore {
            row.push(member.datastore_address.clone());
            row.push(member.datastore_role.clone());
        }
        row
    });
    let mut columns = vec!["NAME", "ADDRESS", "ROLE", "STATUS", "LAST HEARTBEAT"];
    if has_datastore {
        columns.extend(["DATASTORE", "ITS ROLE"]);
    }
    out.write_all(tables::columns(&columns, rows).as_bytes())
}
