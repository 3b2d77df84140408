use std::{
    env,
    fmt::Display,
    io::{self, ErrorKind, Write},
    panic, process,
    process::ExitCode,
    thread,
    time::{Duration, UNIX_EPOCH},
};

use k8s_dqlite::{
    args::{Args, BackupCommand, Command},
    commands::{
        archive, backup, certs, doctor, init, inspect, migrator, recover, restore, roll_back, snap,
        status, top,
    },
    config,
    exit::{Exit, of_file_failure},
    process::signals::{Hangups, StopSignals},
    server::{self, ServerError},
};
use program_docs::Generated;
use service_manager::Sockets;
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

/// The longest that the end of the process waits for threads that are in a system call.
const BLOCKED_TIMEOUT: Duration = Duration::from_secs(5);

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
    if let Some(asked) = program_docs::asked(&arguments) {
        return generate(asked).into();
    }
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
        Some(command) => run_command(&args, command),
        None => serve(&args),
    }
}

fn generate(asked: Result<Generated, String>) -> Exit {
    match asked {
        Ok(generated) => {
            // Whoever closed the pipe has seen enough.
            let _ = generated.write(Args::grouped(), &mut io::stdout());
            Exit::Stopped
        }
        Err(reason) => {
            eprintln!("error: {reason}");
            Exit::Usage
        }
    }
}

fn serve(args: &Args) -> ExitCode {
    // Removes variables of the environment: before any thread.
    let passed = Sockets::from_environment();
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
    if let Err(error) = places::raise_open_files() {
        warn!(%error, "the limit of open files stays as it is");
    }
    // Before the threads of the runtime and the engine, which inherit it.
    dqlite::node::raise_priority();
    let runtime = match start_runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit.into(),
    };
    let ended = runtime.block_on(run(args, passed));
    // A call on a file system that hangs, such as that of an archive on NFS, does not end by itself.
    runtime.shutdown_timeout(BLOCKED_TIMEOUT);
    match ended {
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

/// Runs a sub-command, and prints what it has done or why it has failed; of a hook, snapd shows the standard error.
fn run_command(args: &Args, command: &Command) -> ExitCode {
    let is_hook = matches!(command, Command::SnapHook { .. });
    let is_debug = matches!(command, Command::Migrator(migrator) if migrator.debug);
    if !is_hook {
        logging::start(&args.log_level, args.debug || is_debug);
    }
    let runtime = match start_runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit.into(),
    };
    match runtime.block_on(obey(args, command)) {
        Ok(done) => print(&done).into(),
        Err(Failed { reason, exit }) => {
            match is_hook {
                true => eprintln!("{reason}"),
                false => eprintln!("error: {reason}"),
            }
            exit.into()
        }
    }
}

/// Prints what a sub-command shows before its end.
fn show(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}

/// Prints what a sub-command has to say, and returns the exit code: a part of a value must not pass for the whole.
fn print(done: &Done) -> Exit {
    let mut output = io::stdout().lock();
    let printed = output.write_all(&done.text).and_then(|()| output.flush());
    let Err(error) = printed else {
        return done.exit;
    };
    let exit = match error.kind() {
        // Whoever closed the pipe has seen enough.
        ErrorKind::BrokenPipe => return done.exit,
        ErrorKind::StorageFull => Exit::DiskFull,
        _ => Exit::Failure,
    };
    eprintln!("error: cannot write to the standard output: {error}");
    exit
}

/// The end of a sub-command that has done what it was asked to.
struct Done {
    /// Whole lines, or the bytes of a value.
    text: Vec<u8>,
    exit: Exit,
}

impl Done {
    fn line(text: impl Display) -> Self {
        Self::text(format!("{text}\n"))
    }

    fn text(text: impl Into<Vec<u8>>) -> Self {
        Self {
            text: text.into(),
            exit: Exit::Stopped,
        }
    }
}

/// The end of a sub-command that has not.
struct Failed {
    reason: String,
    exit: Exit,
}

impl<E: Display> From<E> for Failed
where
    for<'a> Exit: From<&'a E>,
{
    fn from(error: E) -> Self {
        Self {
            reason: error.to_string(),
            exit: Exit::from(&error),
        }
    }
}

async fn obey(args: &Args, command: &Command) -> Result<Done, Failed> {
    Ok(match command {
        Command::Backup(wanted) => match &wanted.command {
            Some(BackupCommand::Verify(file)) => {
                Done::line(format_args!("whole: {}", backup::verify(file)?))
            }
            None => {
                let written = backup::run(wanted, now_s().cast_unsigned()).await?;
                Done::line(format_args!("backup made: {written}"))
            }
        },
        Command::Archive(wanted) => Done::text(archive::run(wanted, now_s()).await?),
        Command::Init(wanted) => Done::text(init::run(wanted, now_s()).await?),
        Command::Migrator(wanted) => Done::line(migrator::run(wanted).await?),
        Command::Restore(wanted) => {
            let summary = restore::run(wanted).await?;
            match wanted.dry_run {
                true => Done::line(format_args!("can be restored: {summary}")),
                false => Done::line(format_args!("restored: {summary}")),
            }
        }
        Command::RollBack(wanted) => Done::line(roll_back::run(wanted).await?),
        Command::Status(wanted) => {
            let report = status::run(&wanted.storage_dir, wanted.enable_tls, now_s()).await?;
            let text = match wanted.json {
                true => serde_json::to_string_pretty(&report).expect("it has string keys") + "\n",
                false => report.to_string(),
            };
            Done {
                text: text.into_bytes(),
                exit: report.health.into(),
            }
        }
        Command::Certs(wanted) => Done::text(certs::run(wanted, now_s()).await?),
        Command::Get(wanted) => Done::text(inspect::get(wanted).await?),
        Command::History(wanted) => Done::text(inspect::history(wanted).await?),
        Command::Diff(wanted) => Done::text(inspect::diff(wanted).await?),
        Command::Doctor(wanted) => {
            let diagnosis = doctor::run(args, wanted, now_s()).await?;
            let text = match wanted.json {
                true => {
                    serde_json::to_string_pretty(&diagnosis).expect("it has string keys") + "\n"
                }
                false => diagnosis.to_string(),
            };
            Done {
                text: text.into_bytes(),
                exit: diagnosis.worst().map_or(Exit::Stopped, Exit::from),
            }
        }
        Command::Top(wanted) => Done::text(top::run(wanted, show).await?),
        Command::Recover(wanted) => Done::text(recover::run(wanted, now_s()).await?),
        Command::Version => Done::text(versions()),
        Command::SnapHook { hook } => {
            let paths = snap::SnapPaths::from_environment()?;
            snap::run(*hook, &paths, now_s()).await?;
            Done::text(Vec::new())
        }
    })
}

/// Returns the time in seconds since 1970.
fn now_s() -> i64 {
    let since = UNIX_EPOCH.elapsed().unwrap_or_default();
    since.as_secs().cast_signed()
}

async fn run(args: &Args, passed: io::Result<Sockets>) -> Result<(), ServerError> {
    let signals = StopSignals::install().map_err(ServerError::Signals)?;
    let hangups = Hangups::install().map_err(ServerError::Signals)?;
    server::take_next(&args.storage_dir, now_s()).await?;
    let config = config::load(args)?;
    tokio::spawn(logging::obey_signals());
    let telemetry = config::telemetry(args)?;
    let telemetry = telemetry.and_then(|settings| Telemetry::start(&settings));
    let is_recorded = args.profiling && !args.profiling_dir.is_empty();
    let profile = is_recorded.then(|| WholeProfile::start(args.profiling_dir.as_ref()));
    let profile = profile.transpose()?;
    let ended = server::run(config, passed, signals.stop(), hangups).await;
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
    of_file_failure(failure) as u8
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
