//! The errors of the shell, by what a script does about them: one table from errors to exit codes.

use dqlite::client::{Error as ClientError, Loss};

#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// A wrong flag, file or command: nothing was sent.
    #[error("{0}")]
    Usage(String),
    /// The database or the cluster refused, or a guard of the shell did.
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
        match self {
            ShellError::OutputClosed => 0,
            ShellError::Refused(_) => 1,
            ShellError::Usage(_) => 2,
            ShellError::Unreachable(_) => 3,
            ShellError::TimedOut(_) => 4,
        }
    }

    pub fn usage(text: impl Into<String>) -> Self {
        ShellError::Usage(text.into())
    }

    pub fn refused(text: impl Into<String>) -> Self {
        ShellError::Refused(text.into())
    }

    /// The same error with more text, which a `{}` stands for in.
    pub fn within(self, wrap: impl FnOnce(&str) -> String) -> Self {
        match self {
            ShellError::Usage(text) => ShellError::Usage(wrap(&text)),
            ShellError::Refused(text) => ShellError::Refused(wrap(&text)),
            ShellError::Unreachable(text) => ShellError::Unreachable(wrap(&text)),
            ShellError::TimedOut(text) => ShellError::TimedOut(wrap(&text)),
            ShellError::OutputClosed => ShellError::OutputClosed,
        }
    }

    /// Reading or writing a file of the user.
    pub fn file(action: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        ShellError::Refused(format!("cannot {action} {}: {error}", path.display()))
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
                ShellError::Refused(message)
            }
            _ => ShellError::Refused(text),
        }
    }
}

impl From<std::io::Error> for ShellError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => ShellError::OutputClosed,
            _ => ShellError::Refused(error.to_string()),
        }
    }
}
