//! The errors of the shell, by what a script does about them: one table from errors to exit codes.

use std::io::ErrorKind;

use command_line::Exit;
use dqlite::client::{Error as ClientError, Loss};

#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// A wrong flag, file or command: nothing was sent.
    #[error("{0}")]
    Usage(String),
    /// SQL that the database does not run, or a file that cannot be read or written.
    #[error("{0}")]
    Failed(String),
    /// This user may not use a file.
    #[error("{0}")]
    Forbidden(String),
    /// The cluster or a guard of the shell refused: nothing was changed.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Unreachable(String),
    #[error("{0}")]
    TimedOut(String),
    /// The reader of our output went away: nobody is left to be told.
    #[error("the output was closed")]
    OutputClosed,
}

impl ShellError {
    pub fn exit_code(&self) -> u8 {
        let exit = match self {
            ShellError::OutputClosed => Exit::Stopped,
            ShellError::Failed(_) => Exit::Failure,
            ShellError::Usage(_) => Exit::Usage,
            ShellError::Forbidden(_) => Exit::Config,
            ShellError::Refused(_) => Exit::Refused,
            ShellError::Unreachable(_) => Exit::Unreachable,
            ShellError::TimedOut(_) => Exit::TimedOut,
        };
        exit as u8
    }

    pub fn usage(text: impl Into<String>) -> Self {
        ShellError::Usage(text.into())
    }

    pub fn failed(text: impl Into<String>) -> Self {
        ShellError::Failed(text.into())
    }

    pub fn refused(text: impl Into<String>) -> Self {
        ShellError::Refused(text.into())
    }

    /// The same error with more text, which a `{}` stands for in.
    pub fn within(self, wrap: impl FnOnce(&str) -> String) -> Self {
        match self {
            ShellError::Usage(text) => ShellError::Usage(wrap(&text)),
            ShellError::Failed(text) => ShellError::Failed(wrap(&text)),
            ShellError::Forbidden(text) => ShellError::Forbidden(wrap(&text)),
            ShellError::Refused(text) => ShellError::Refused(wrap(&text)),
            ShellError::Unreachable(text) => ShellError::Unreachable(wrap(&text)),
            ShellError::TimedOut(text) => ShellError::TimedOut(wrap(&text)),
            ShellError::OutputClosed => ShellError::OutputClosed,
        }
    }

    /// Reading or writing a file of the user.
    pub fn file(action: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let text = format!("cannot {action} {}: {error}", path.display());
        match error.kind() {
            ErrorKind::PermissionDenied => ShellError::Forbidden(text),
            _ => ShellError::Failed(text),
        }
    }
}

impl From<ClientError> for ShellError {
    fn from(error: ClientError) -> Self {
        let text = match &error {
            // What it means for the statement, its session knows better.
            ClientError::OutcomeUnknown(loss) => loss.to_string(),
            error => error.to_string(),
        };
        match error {
            ClientError::OutcomeUnknown(Loss::TimedOut(_))
            | ClientError::Disconnected(Loss::TimedOut(_)) => ShellError::TimedOut(text),
            ClientError::Unreachable(_)
            | ClientError::NotLeader
            | ClientError::NoLeader { .. }
            | ClientError::OutcomeUnknown(_)
            | ClientError::Disconnected(_)
            | ClientError::Poisoned => ShellError::Unreachable(text),
            ClientError::Sql { message, .. } | ClientError::NoDatabase { message }
                if !message.is_empty() =>
            {
                ShellError::Failed(message)
            }
            _ => ShellError::Failed(text),
        }
    }
}

impl From<std::io::Error> for ShellError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => ShellError::OutputClosed,
            ErrorKind::PermissionDenied => ShellError::Forbidden(error.to_string()),
            _ => ShellError::Failed(error.to_string()),
        }
    }
}
