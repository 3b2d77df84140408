//! The `k8sd` command: the daemon, and the commands that ask it.
#![forbid(unsafe_code)]

mod args;
mod failure;
mod print;
mod prompt;
mod recover;
mod serve;
mod sql;
mod verbs;

use std::{env, io::stdout, process::ExitCode, thread, time::Duration};

use clap::{CommandFactory, Parser, error::ErrorKind};
use k8sd::{DaemonOptions, api::Control, client::Target, state::StateDir};
use nix::sys::signal::{Signal, raise};
use program_docs::Generated;

use args::{Args, Command, Sql};
use failure::{Failure, failed};

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
            return ExitCode::FAILURE;
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
            return ExitCode::FAILURE;
        }
    }
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
    if let Err(error) = dqlite::linkage::check() {
        eprintln!("Error: {error}");
        return ExitCode::FAILURE;
    }
    if matches!(args.command, Command::Daemon { .. }) {
        if let Err(error) = places::raise_open_files() {
            eprintln!("Warning: the limit of open files stays as it is: {error}");
        }
        // Before the threads of the runtime and the engine, which inherit it.
        dqlite::node::raise_priority();
    }
    if let Command::Daemon { sql_timeout, .. } | Command::Sql(Sql { sql_timeout, .. }) =
        &args.command
    {
        k8sd::set_sql_timeout(Duration::from_secs(*sql_timeout));
    }
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
            failure.print();
            ExitCode::FAILURE
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
    eprintln!("Error: {failure}");
    1
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
        Command::Completion { shell } => {
            Generated::Completion(shell).write(Args::command(), &mut stdout())?;
            Ok(ExitCode::SUCCESS)
        }
        command => verbs::run(&Target::Socket(state.control_socket()), command).await,
    }
}
