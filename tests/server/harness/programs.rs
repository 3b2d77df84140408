//! Programs of others, each named by a variable where the machine has it.

use std::process::Command;

use super::Server;

/// Returns the command that a variable names. Where it names none, says so.
pub fn named_by(variable: &str, what: &str) -> Option<Command> {
    let mut command = std::env::var_os(variable).map(Command::new);
    match &mut command {
        Some(command) => _ = command.env_remove(variable),
        None => eprintln!("skipped: {variable} does not name {what}"),
    }
    command
}

/// Returns an etcdctl that talks to a server. Where there is none, says so.
pub fn etcdctl(server: &Server, arguments: &[&str]) -> Option<Command> {
    // ETCDCTL_ variables are flags, and new ones complain of those that they do not know.
    let mut command = named_by("ETCDCTL_BIN", "an etcdctl")?;
    command
        .env_remove("ETCDCTL_API")
        .args(["--endpoints", &server.client_url()])
        .args(arguments);
    Some(command)
}
