//! The `k8sd` command: the daemon, and the commands that ask it.
#![forbid(unsafe_code)]

mod args;
mod failure;
mod print;
mod prompt;
mod recover;
mod serve;
mod shutdown;
mod sql;
mod verbs;

use std::{
    env,
    io::{Write, stdout},
    process::ExitCode,
    thread,
    time::Duration,
};

use clap::{CommandFactory, Parser};
use command_line::Exit;
use k8sd::{DaemonOptions, api::Control, client::Target, state::StateDir};
use nix::sys::signal::{Signal, raise};
use program_docs::Generated;
use telemetry::logging;
use tracing::warn;

use args::{Args, Command, Sql};
use failure::{Failure, failed, of_file_failure};

/// The longest time from the end of all work to that of the process; destructors take milliseconds.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    // While there is one thread: it sets variables of the environment.
    dqlite::node::prepare_process();
    dqlite::node::on_file_failure(tell_file_failure);
    let arguments = match args_file::expand(env::args_os(), |name| env::var_os(name)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("Error: {error}");
            return Exit::Usage.into();
        }
    };
    match program_docs::asked(&arguments) {
        None => {}
        Some(Ok(generated)) => {
            // Whoever closed the pipe has seen enough.
            let _ = generated.write(Args::command(), &mut stdout());
            return ExitCode::SUCCESS;
        }
        Some(Err(reason)) => {
            eprintln!("Error: {reason}");
            return Exit::Usage.into();
        }
    }
    let args = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return match error.use_stderr() {
                true => Exit::Usage,
                false => Exit::Stopped,
            }
            .into();
        }
    };
    if let Err(error) = dqlite::linkage::check() {
        eprintln!("Error: {error}");
        return Exit::Config.into();
    }
    if let Command::Daemon { logs, .. } = &args.command {
        logging::start_as(logs.log_format.into(), &logs.log_level, false);
        if let Err(error) = places::raise_open_files() {
            warn!(%error, "the limit of open files stays as it is");
        }
        // Before the threads of the runtime and the engine, which inherit it.
        dqlite::node::raise_priority();
    }
    if let Command::Daemon { sql_timeout, .. } | Command::Sql(Sql { sql_timeout, .. }) =
        &args.command
    {
        k8sd::set_sql_timeout(*sql_timeout);
    }
    let is_daemon = matches!(args.command, Command::Daemon { .. });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let ran = match runtime {
        Ok(runtime) => runtime.block_on(run(args)),
        Err(error) => Err(Failure::from(error)),
    };
    end_in_time();
    match ran {
        Ok(code) => code,
        // Whoever reads has had enough.
        Err(Failure { is_pipe: true, .. }) => ExitCode::SUCCESS,
        Err(failure) => {
            match is_daemon {
                true => failure.log(),
                false => failure.print(),
            }
            failure.exit_code()
        }
    }
}

/// A statement that does not end keeps a thread of libuv's pool, for which the process' exit would wait for
/// ever.
fn end_in_time() {
    thread::spawn(|| {
        thread::sleep(EXIT_TIMEOUT);
        eprintln!("Error: the engine did not stop in time and is killed");
        let _ = raise(Signal::SIGKILL);
    });
}

fn tell_file_failure(failure: &dqlite::node::FileFailure) -> u8 {
    tracing::error!("{failure}");
    of_file_failure(failure) as u8
}

async fn run(args: Args) -> Result<ExitCode, Failure> {
    let state = StateDir::new(&args.state_dir);
    match args.command {
        Command::Daemon {
            socket_group,
            name,
            address,
            datastore,
            sql_timeout: _,
            logs: _,
        } => {
            let datastore = verbs::wanted(datastore)?;
            let first = name.zip(address).map(|(name, address)| Control {
                bootstrap: true,
                name,
                address,
                datastore,
                ..Control::default()
            });
            let served = serve::serve(DaemonOptions {
                state,
                socket_group,
                first,
            });
            let served = served.await;
            served.map_err(failed("The daemon has ended."))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Sql(sql) => sql::run(&state, &sql).await,
        Command::Recover(recovery) => recover::run(&state, &recovery).await,
        Command::Leave => {
            let left = k8sd::leave(&state).await;
            if !left.map_err(failed("Failed to leave the cluster."))? {
                eprintln!("This node has no other members to leave.");
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Doctor { json } => {
            let diagnosis = k8sd::doctor::diagnose(&state, k8sd::time::now_s()).await;
            match json {
                true => writeln!(stdout(), "{:#}", serde_json::json!(diagnosis))?,
                false => write!(stdout(), "{diagnosis}")?,
            }
            let exit = diagnosis.worst().map_or(Exit::Stopped, Exit::from);
            Ok(exit.into())
        }
        Command::Shutdown => {
            let ended = shutdown::run(&state).await;
            ended.map_err(failed("Failed to stop the daemon."))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Completion { shell } => {
            Generated::Completion(shell).write(Args::command(), &mut stdout())?;
            Ok(ExitCode::SUCCESS)
        }
        command => verbs::run(&Target::Socket(state.control_socket()), command).await,
    }
}
