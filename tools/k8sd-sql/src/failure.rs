//! An error, with the action that failed, what to do next, and the exit code.

use std::{io, process::ExitCode};

use command_line::Exit;
use dqlite::node::{FileFailure, NodeError};
use k8sd::Error;

const START_DAEMON: &str = "The daemon does not run with this state directory. Start it: k8sd daemon, or in the snap: \
                            snap start k8s-dqlite.k8sd-daemon. Without it, k8sd sql --offline reads a copy of its database.";

const BECOME_ROOT: &str = "This user may not use the files or the socket of the daemon: run the command as root, with sudo.";

const NO_QUORUM: &str = "If that stays so, see which members run (k8sd status on each); a majority that is lost for good is \
                         given up with k8sd recover.";

pub struct Failure {
    what: &'static str,
    text: String,
    exit: Exit,
    /// The next step of the user, where there is one.
    next: Option<&'static str>,
    /// True if the reader of the output has closed it.
    pub is_pipe: bool,
}

impl Failure {
    /// Prints the error in the form of the original, and the next step.
    pub fn print(&self) {
        eprintln!("Error: {}\n\nThe error was: {}", self.what, self.text);
        if let Some(next) = self.next {
            eprintln!("\n{next}");
        }
    }

    /// Logs the error, of a daemon.
    pub fn log(&self) {
        tracing::error!("{} The error was: {}", self.what, self.text);
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn exit_code(&self) -> ExitCode {
        self.exit.into()
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self {
            what: "Failed to read or write.",
            text: error.to_string(),
            exit: Exit::Failure,
            next: None,
            is_pipe: error.kind() == io::ErrorKind::BrokenPipe,
        }
    }
}

pub fn failed(what: &'static str) -> impl FnOnce(Error) -> Failure {
    move |error| {
        let exit = exit(&error);
        let next = match (&error, exit) {
            (Error::NoDaemon(_), _) => Some(START_DAEMON),
            (_, Exit::Config) if is_forbidden(&error) => Some(BECOME_ROOT),
            _ => None,
        };
        Failure {
            what,
            text: error.to_string(),
            exit,
            next,
            is_pipe: false,
        }
    }
}

/// Returns the failure of a daemon that runs, and whose cluster does not answer.
pub fn without_quorum(error: Error) -> Failure {
    Failure {
        exit: Exit::NoLeader,
        next: Some(NO_QUORUM),
        ..failed(
            "The daemon runs, but the cluster does not answer: most likely it has no majority.",
        )(error)
    }
}

fn is_forbidden(error: &Error) -> bool {
    match error {
        Error::Forbidden(_) => true,
        Error::File { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
        _ => false,
    }
}

fn exit(error: &Error) -> Exit {
    match error {
        Error::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => Exit::DiskFull,
        Error::Forbidden(_) | Error::File { .. } | Error::Damaged { .. } | Error::NodeFile(_) => {
            Exit::Config
        }
        Error::Invalid(_) | Error::NotFound(_) | Error::Conflict(_) => Exit::Refused,
        Error::Refused { status: 403, .. } => Exit::Config,
        Error::Refused {
            status: 400..=499, ..
        } => Exit::Refused,
        Error::Refused { status: 503, .. } | Error::Unavailable(_) | Error::NoDaemon(_) => {
            Exit::Unreachable
        }
        Error::Held(_) => Exit::Held,
        Error::Listen(_) => Exit::Listen,
        Error::Late(_) | Error::Refused { status: 504, .. } => Exit::TimedOut,
        Error::DamagedDatabase { .. } => Exit::Data,
        Error::Node(error) => of_node(error),
        _ => Exit::Failure,
    }
}

fn of_node(error: &NodeError) -> Exit {
    match error {
        NodeError::DirectoryHeld { .. } => Exit::Held,
        NodeError::DiskFull { .. } => Exit::DiskFull,
        NodeError::FileCall(failure) => of_file_failure(failure),
        NodeError::StopTimeout { .. } => Exit::StopTimeout,
        _ => Exit::Engine,
    }
}

/// As the server has it.
pub fn of_file_failure(failure: &FileFailure) -> Exit {
    match failure {
        _ if failure.is_disk_full() => Exit::DiskFull,
        _ if failure.is_forbidden() => Exit::Config,
        _ => Exit::Engine,
    }
}
