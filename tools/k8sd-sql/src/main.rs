//! The `k8sd` command: the daemon, and what asks it.

mod args;
mod print;

use std::{
    env,
    io::{self, IsTerminal, Read, Write},
    process::ExitCode,
    time::Duration,
};

use clap::{CommandFactory, Parser, error::ErrorKind};
use k8sd::{
    Error,
    api::{
        CheckReport, ClusterMember, Control, DatastoreRequest, NewToken, SqlBatch, SqlDump,
        SqlQuery, TokenRecord,
    },
    client::Target,
    daemon::DaemonOptions,
    state::StateDir,
};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use args::{Args, Check, Command, Format, Token};

/// As the original; the server's own limit is the same.
const SQL_TIMEOUT: Duration = Duration::from_secs(30);

const ASK_TIMEOUT: Duration = Duration::from_secs(30);

/// A join waits for the leader, and for roles; a removal for a promotion.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(150);

const NS_PER_S: u64 = 1_000_000_000;

fn main() -> ExitCode {
    // While there is one thread: it sets variables of the environment.
    dqlite::node::prepare_process();
    let arguments = match args_file::expand(env::args_os(), |name| env::var_os(name)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("Error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let args = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            let is_help = matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            );
            return if is_help {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            };
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let ran = match runtime {
        Ok(runtime) => runtime.block_on(run(args)),
        Err(error) => Err(Failure::from(error)),
    };
    match ran {
        Ok(code) => code,
        // Whoever reads has had enough.
        Err(Failure { is_pipe: true, .. }) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("Error: {}\n\nThe error was: {}", failure.what, failure.text);
            ExitCode::FAILURE
        }
    }
}

/// What was tried, and what came of it.
struct Failure {
    what: &'static str,
    text: String,
    is_pipe: bool,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self {
            what: "Failed to read or write.",
            text: error.to_string(),
            is_pipe: error.kind() == io::ErrorKind::BrokenPipe,
        }
    }
}

fn failed(what: &'static str) -> impl FnOnce(Error) -> Failure {
    move |error| Failure {
        what,
        text: error.to_string(),
        is_pipe: false,
    }
}

async fn run(args: Args) -> Result<ExitCode, Failure> {
    let socket = StateDir::new(&args.state_dir).control_socket();
    let daemon = Target::Socket(socket);
    let mut out = io::stdout().lock();
    let change = CHANGE_TIMEOUT;
    match args.command {
        Command::Daemon {
            socket_group,
            name,
            address,
            datastore,
        } => {
            let datastore = wanted(datastore)?;
            let first = name.zip(address).map(|(name, address)| Control {
                bootstrap: true,
                name,
                address,
                datastore,
                ..Control::default()
            });
            let options = DaemonOptions {
                state: StateDir::new(&args.state_dir),
                socket_group,
                first,
            };
            serve(options)
                .await
                .map_err(failed("The daemon has ended."))?;
        }
        Command::Sql {
            format,
            transaction,
            query,
        } => {
            return sql(&daemon, format, transaction, query.as_deref()).await;
        }
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
            let body = json!(control);
            let asked = daemon
                .call::<Value>(POST, "/core/control", Some(&body), change)
                .await;
            asked.map_err(failed("Failed to bootstrap the cluster."))?;
        }
        Command::Join {
            token,
            name,
            address,
            datastore,
        } => {
            let join_token = match token.as_str() {
                "-" => read_stdin()?,
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
            let body = json!(control);
            let asked = daemon
                .call::<Value>(POST, "/core/control", Some(&body), change)
                .await;
            asked.map_err(failed("Failed to join the cluster."))?;
        }
        Command::Token(Token::Add { name, ttl }) => {
            let body = json!(NewToken {
                name,
                expire_after: (ttl * NS_PER_S).cast_signed()
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
            print::table(
                &mut out,
                &["NAME", "EXPIRES", "TOKEN"],
                &rows.collect::<Vec<_>>(),
            )?;
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
            let text = |key: &str| about[key].as_str().unwrap_or_default().to_owned();
            writeln!(out, "{} {} ready", text("name"), text("address"))?;
        }
        Command::Remove { name, force } => {
            let path = format!("/core/1.0/cluster/{name}?force={}", u8::from(force));
            let asked = daemon.call::<Value>(DELETE, &path, None, change).await;
            asked.map_err(failed("Failed to remove the member."))?;
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
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Args::command(), "k8sd", &mut out);
        }
        Command::Shutdown => {
            let asked = daemon
                .call::<Value>(POST, "/core/control/shutdown", None, ASK_TIMEOUT)
                .await;
            asked.map_err(failed("Failed to stop the daemon."))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn wanted(given: args::Datastore) -> io::Result<Option<DatastoreRequest>> {
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

const GET: hyper::Method = hyper::Method::GET;
const POST: hyper::Method = hyper::Method::POST;
const DELETE: hyper::Method = hyper::Method::DELETE;

async fn serve(options: DaemonOptions) -> Result<(), Error> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .init();
    let signals = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    );
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
        return Err(Error::Internal("no signal handlers".to_owned()));
    };
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    k8sd::daemon::run(options, stop).await
}

async fn sql(
    daemon: &Target,
    format: Format,
    transaction: bool,
    query: Option<&str>,
) -> Result<ExitCode, Failure> {
    let text = match query {
        Some("-") => read_stdin()?,
        Some(query) => query.to_owned(),
        None if io::stdin().is_terminal() => return prompt(daemon, format).await,
        None => read_stdin()?,
    };
    one(daemon, format, transaction, &text).await
}

fn read_stdin() -> io::Result<String> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

async fn one(
    daemon: &Target,
    format: Format,
    transaction: bool,
    text: &str,
) -> Result<ExitCode, Failure> {
    const PATH: &str = "/core/internal/sql";
    const FAILED: &str = "Failed to execute the SQL query.";
    let mut out = io::stdout().lock();
    let query = match text.trim().trim_end_matches(';').trim_end() {
        verb @ (".dump" | ".schema") => {
            let path = if verb == ".dump" {
                PATH.to_owned()
            } else {
                format!("{PATH}?schema=1")
            };
            let asked = daemon.call(GET, &path, None, SQL_TIMEOUT).await;
            let dump: SqlDump = asked.map_err(failed(FAILED))?;
            writeln!(out, "{}", dump.text)?;
            return Ok(ExitCode::SUCCESS);
        }
        ".tables" => "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') \
            AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
            .to_owned(),
        _ => text.to_owned(),
    };
    let body = json!(SqlQuery { query, transaction });
    let asked = daemon.call(POST, PATH, Some(&body), SQL_TIMEOUT).await;
    let batch: SqlBatch = asked.map_err(failed(FAILED))?;
    print::batch(&mut out, format, &batch.results.unwrap_or_default())?;
    Ok(ExitCode::SUCCESS)
}

/// Statement by statement, until the end of input.
async fn prompt(daemon: &Target, format: Format) -> Result<ExitCode, Failure> {
    let mut pending = String::new();
    loop {
        eprint!(
            "{}",
            if pending.is_empty() {
                "k8sd> "
            } else {
                " ...> "
            }
        );
        if io::stdin().read_line(&mut pending)? == 0 {
            eprintln!();
            return Ok(ExitCode::SUCCESS);
        }
        let line = pending.trim();
        if matches!(line, ".quit" | ".exit") {
            return Ok(ExitCode::SUCCESS);
        }
        if line.is_empty() || !(line.starts_with('.') || dqlite::sql::split(line).rest.is_empty()) {
            continue;
        }
        if let Err(failure) = one(daemon, format, false, line).await {
            eprintln!("Error: {}", failure.text);
        }
        pending.clear();
    }
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
    print::table(out, &columns, &rows.collect::<Vec<_>>())
}
