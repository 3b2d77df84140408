use std::{
    env,
    io::{self, Write},
    panic, process,
    process::ExitCode,
    thread,
    time::UNIX_EPOCH,
};

use k8s_dqlite::{
    args::{
        Args, BackupArgs, BackupCommand, Command, Hook, MigratorArgs, RecoverArgs, RestoreArgs,
        RollBackArgs, StatusArgs,
    },
    commands::{backup, migrator, recover, restore, roll_back, snap, status},
    config,
    exit::Exit,
    process::{limits, signals::StopSignals},
    server::{self, ServerError},
};
use telemetry::{
    logging,
    profiling::{self, Sampled, WholeProfile},
    tracing::Telemetry,
};
use tracing::{error, info, warn};

#[global_allocator]
static ALLOCATOR: Sampled = Sampled;

/// The fewest worker threads: with one, a large range would hold up the writer.
const WORKERS_MIN: usize = 2;

fn main() -> ExitCode {
    // Sets the environment, so it comes before anything that may start a thread.
    dqlite::node::prepare_process();
    abort_on_panic();
    dqlite::node::on_file_failure(tell_file_failure);
    let arguments = match args_file::expand(env::args_os(), |name| env::var_os(name)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("error: {error}");
            return Exit::Usage.into();
        }
    };
    let args = match Args::read(arguments) {
        Ok(args) => args,
        Err(error) => {
            // If that is closed, there is nowhere to say so.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Stopped
            }
            .into();
        }
    };
    if let Err(error) = dqlite::linkage::check() {
        eprintln!("error: {error}");
        return Exit::Config.into();
    }
    match &args.command {
        Some(Command::Backup(backup)) => back_up(&args, backup),
        Some(Command::Migrator(migrator)) => move_data(&args, migrator),
        Some(Command::Restore(restore)) => restore_snapshot(&args, restore),
        Some(Command::RollBack(wanted)) => roll_back(&args, wanted),
        Some(Command::Status(status)) => show_status(&args, status),
        Some(Command::Recover(recover)) => recover_directory(&args, recover),
        Some(Command::SnapHook { hook }) => run_hook(*hook),
        Some(Command::Version) => {
            // Whoever closed the pipe has seen enough.
            let _ = io::stdout().write_all(versions().as_bytes());
            Exit::Stopped.into()
        }
        None => serve(&args),
    }
}

fn serve(args: &Args) -> ExitCode {
    if args.profiling {
        profiling::start_heap();
    }
    logging::start_as(args.logs.log_format.into(), &args.log_level, args.debug);
    logging::slow::set_threshold(args.logs.warning_apply_duration.0);
    info!(
        "k8s-dqlite {} on dqlite {}",
        env!("CARGO_PKG_VERSION"),
        dqlite::node::versions().dqlite
    );
    if let Err(error) = limits::raise_open_files() {
        warn!(%error, "the limit of open files stays as it is");
    }
    let runtime = match start_runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit.into(),
    };
    match runtime.block_on(run(args)) {
        Ok(()) => {
            info!("stopped");
            Exit::Stopped.into()
        }
        Err(error) => {
            error!("{error}");
            let exit = Exit::from(&error);
            if exit == Exit::StopTimeout {
                // A statement that does not end keeps a thread of libuv's pool, for which an exit would wait.
                // SAFETY: ends the process; nothing is left that has to be written or handed over.
                unsafe { libc::_exit(exit as i32) }
            }
            exit.into()
        }
    }
}

fn start_runtime() -> Result<tokio::runtime::Runtime, Exit> {
    let workers = thread::available_parallelism().map_or(WORKERS_MIN, |n| n.get().max(WORKERS_MIN));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build();
    runtime.map_err(|error| {
        error!("cannot start {workers} threads: {error}");
        Exit::Failure
    })
}

fn back_up(args: &Args, wanted: &BackupArgs) -> ExitCode {
    logging::start(&args.log_level, args.debug);
    let done = match &wanted.command {
        Some(BackupCommand::Verify(file)) => backup::verify(file)
            .map(|verified| format!("whole: {verified}"))
            .map_err(|error| (Exit::from(&error), error.to_string())),
        None => {
            let runtime = match start_runtime() {
                Ok(runtime) => runtime,
                Err(exit) => return exit.into(),
            };
            let made = runtime.block_on(backup::run(wanted, now_s().cast_unsigned()));
            made.map(|written| format!("backup made: {written}"))
                .map_err(|error| (Exit::from(&error), error.to_string()))
        }
    };
    report(done)
}

fn move_data(args: &Args, wanted: &MigratorArgs) -> ExitCode {
    logging::start(&args.log_level, args.debug || wanted.debug);
    let runtime = match start_runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit.into(),
    };
    let moved = runtime.block_on(migrator::run(wanted));
    report(moved.map_err(|error| (Exit::from(&error), error.to_string())))
}

/// Prints what was done, or logs why not.
fn report(done: Result<String, (Exit, String)>) -> ExitCode {
    match done {
        Ok(text) => {
            // Whoever closed the pipe has seen enough.
            let _ = writeln!(io::stdout(), "{text}");
            Exit::Stopped.into()
        }
        Err((exit, error)) => {
            error!("{error}");
            exit.into()
        }
    }
}

fn restore_snapshot(args: &Args, restore: &RestoreArgs) -> ExitCode {
    logging::start(&args.log_level, args.debug);
    let runtime = match start_runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit.into(),
    };
    match runtime.block_on(restore::run(restore)) {
        Ok(summary) => {
            let done = if restore.dry_run {
                "can be restored"
            } else {
                "restored"
            };
            // Whoever closed the pipe has seen enough.
            let _ = writeln!(io::stdout(), "{done}: {summary}");
            Exit::Stopped.into()
        }
        Err(error) => {
            error!("{error}");
            Exit::from(&error).into()
        }
    }
}

fn roll_back(args: &Args, wanted: &RollBackArgs) -> ExitCode {
    logging::start(&args.log_level, args.debug);
    let runtime = match start_runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit.into(),
    };
    match runtime.block_on(roll_back::run(wanted)) {
        Ok(summary) => {
            // Whoever closed the pipe has seen enough.
            let _ = writeln!(io::stdout(), "{summary}");
            Exit::Stopped.into()
        }
        Err(error) => {
            error!("{error}");
            Exit::from(&error).into()
        }
    }
}

fn show_status(args: &Args, wanted: &StatusArgs) -> ExitCode {
    logging::start(&args.log_level, args.debug);
    let runtime = match start_runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit.into(),
    };
    match runtime.block_on(status::run(&wanted.storage_dir, wanted.enable_tls, now_s())) {
        Ok(report) => {
            let text = match wanted.json {
                true => serde_json::to_string_pretty(&report).expect("it has string keys") + "\n",
                false => report.to_string(),
            };
            // Whoever closed the pipe has seen enough.
            let _ = io::stdout().write_all(text.as_bytes());
            Exit::from(report.health).into()
        }
        Err(error) => {
            error!("{error}");
            Exit::Config.into()
        }
    }
}

fn recover_directory(args: &Args, wanted: &RecoverArgs) -> ExitCode {
    logging::start(&args.log_level, args.debug);
    let runtime = match start_runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit.into(),
    };
    match runtime.block_on(recover::run(wanted, now_s())) {
        Ok(text) => {
            // Whoever closed the pipe has seen enough.
            let _ = io::stdout().write_all(text.as_bytes());
            Exit::Stopped.into()
        }
        Err(error) => {
            error!("{error}");
            Exit::from(&error).into()
        }
    }
}

/// Returns the time in seconds since 1970.
fn now_s() -> i64 {
    let since = UNIX_EPOCH.elapsed().unwrap_or_default();
    since.as_secs().cast_signed()
}

/// Runs a hook. snapd shows its standard error.
fn run_hook(hook: Hook) -> ExitCode {
    let runtime = match start_runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit.into(),
    };
    let ran = snap::SnapPaths::from_environment()
        .and_then(|paths| runtime.block_on(snap::run(hook, &paths, now_s())));
    match ran {
        Ok(()) => Exit::Stopped.into(),
        Err(error) => {
            eprintln!("{error}");
            Exit::Failure.into()
        }
    }
}

async fn run(args: &Args) -> Result<(), ServerError> {
    let signals = StopSignals::install().map_err(ServerError::Signals)?;
    if let Some(old) = config::take_next(&args.storage_dir, now_s())? {
        info!(old = %old.display(), "another storage directory has taken the place of this one");
    }
    let config = config::load(args)?;
    tokio::spawn(logging::obey_signals());
    let telemetry = config::telemetry(args)?;
    let telemetry = telemetry.and_then(|settings| Telemetry::start(&settings));
    let is_recorded = args.profiling && !args.profiling_dir.is_empty();
    let profile = is_recorded.then(|| WholeProfile::start(args.profiling_dir.as_ref()));
    let profile = profile.transpose()?;
    let ended = server::run(config, signals.stop()).await;
    if let Some(profile) = profile {
        profile.stop();
    }
    if let Some(telemetry) = telemetry {
        telemetry.stop().await;
    }
    ended
}

/// A broken invariant must not go on in the other threads. The default hook has said what happened.
fn abort_on_panic() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        report(panic);
        process::abort();
    }));
}

fn tell_file_failure(failure: &dqlite::node::FileFailure) -> u8 {
    error!("{failure}");
    Exit::from(failure) as u8
}

fn versions() -> String {
    let dqlite::node::Versions { dqlite, sqlite, uv } = dqlite::node::versions();
    let known = |version: Option<String>| version.unwrap_or_else(|| "in dqlite".to_owned());
    format!(
        "k8s-dqlite: {}\nsqlite: {}\ndqlite: {dqlite}\nlibuv: {}\n",
        env!("CARGO_PKG_VERSION"),
        known(sqlite),
        known(uv)
    )
}
