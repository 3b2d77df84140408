//! The files of a storage directory: who holds it, who may read them, what they say, and the engine's log. Changes
//! nothing.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path, time::Instant};

use dqlite::{
    node::{DirLock, NodeError, check_start},
    tls::ROTATION_FILE,
};
use tables::bytes;

use crate::{
    args::Args,
    config::{self, ConfigError, INIT, KEY, Start, Survey, UPDATE, next_of},
};
use command_line::{Fault, Finding};

/// Files of a directory that are looked at: an engine has some tens.
const MAX_FILES: usize = 4096;

/// The process that works on the directory.
pub enum Holder {
    /// Nobody, and nobody begins to while this lives.
    Nobody { _lock: DirLock },
    /// A process.
    Process,
    /// It cannot be told.
    Unknown,
}

/// Finds out whether a server runs on it.
pub fn holder(dir: &Path, findings: &mut Vec<Finding>) -> Holder {
    match DirLock::acquire_unchanged(dir) {
        Ok(lock) => {
            findings.push(Finding::note("process", "no server runs on this directory"));
            Holder::Nobody { _lock: lock }
        }
        Err(NodeError::DirectoryHeld { holder, .. }) => {
            findings.push(Finding::ok(
                "process",
                format!("the directory is in use by {holder}"),
            ));
            Holder::Process
        }
        Err(error) => {
            let found = Finding::problem(Fault::Config, "process", error.to_string());
            findings.push(found.with_remedy(
                "name the storage directory of the server, and run this as a user who may read it",
                "Files",
            ));
            Holder::Unknown
        }
    }
}

/// Looks at owners and permissions.
pub fn permissions(dir: &Path, findings: &mut Vec<Finding>) {
    let before = findings.len();
    if let Err(error) = look_at_permissions(dir, findings) {
        let text = format!("cannot read {}: {error}", dir.display());
        let found = Finding::problem(Fault::Config, "permissions", text);
        findings.push(found.with_remedy("run this as the user of the server, or as root", "Files"));
    }
    if findings.len() == before {
        findings.push(Finding::ok(
            "permissions",
            "the user of the directory can use all files, and keys are private",
        ));
    }
}

fn look_at_permissions(dir: &Path, findings: &mut Vec<Finding>) -> io::Result<()> {
    const GROUP_OR_OTHERS: u32 = 0o077;
    const WRITE_OF_OTHERS: u32 = 0o022;
    let own = fs::metadata(dir)?;
    if own.mode() & WRITE_OF_OTHERS != 0 {
        let mode = own.mode() & 0o7777;
        let text = format!("other users may write to {} (mode {mode:o})", dir.display());
        let found = Finding::warning("permissions", text);
        findings.push(found.with_remedy(format!("chmod 700 {}", config::quoted(dir)), "Files"));
    }
    for entry in fs::read_dir(dir)?.take(MAX_FILES) {
        let entry = entry?;
        // What comes and goes while a server runs is none of these.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !is_usable(
            &name,
            (own.uid(), own.gid()),
            (metadata.uid(), metadata.gid(), metadata.mode()),
        ) {
            let text = format!(
                "{} belongs to user {}, the directory to user {}, who may not use it",
                path.display(),
                metadata.uid(),
                own.uid()
            );
            let remedy = format!("chown -R {} {}", own.uid(), config::quoted(dir));
            let found = Finding::problem(Fault::Config, "permissions", text);
            findings.push(found.with_remedy(remedy, "Files"));
        }
        let is_key = name.ends_with(".key") || name == ROTATION_FILE;
        if is_key && metadata.mode() & GROUP_OR_OTHERS != 0 {
            let mode = metadata.mode() & 0o7777;
            let text = format!("other users may read {} (mode {mode:o})", path.display());
            let remedy = format!("chmod 600 {}", config::quoted(&path));
            findings
                .push(Finding::warning("permissions", text).with_remedy(remedy, "Certificates"));
        }
    }
    Ok(())
}

/// Returns whether the owner of the directory may do with a file in it what a server does. What it replaces as a whole it
/// need not be able to write. Both are told by user and group, the file by its mode too.
fn is_usable(name: &str, (owner, group): (u32, u32), (uid, gid, mode): (u32, u32, u32)) -> bool {
    const ROOT: u32 = 0;
    // Of a file system that is mounted there.
    const NOT_OURS: &str = "lost+found";
    if owner == ROOT || owner == uid || name == NOT_OURS {
        return true;
    }
    let allowed = if group == gid { mode >> 3 } else { mode };
    let in_place = ["open-", "metadata"].iter().any(|it| name.starts_with(it))
        || name.starts_with(|first: char| first.is_ascii_digit());
    let needed = if in_place { 0o6 } else { 0o4 };
    allowed & needed == needed
}

/// Reads flags and files as a start does.
pub fn settings(args: &Args, findings: &mut Vec<Finding>) -> Survey {
    let survey = config::survey(args);
    for error in &survey.errors {
        let (subject, section) = match error {
            ConfigError::NoPair { .. } | ConfigError::Tls(_) => ("certificates", "Certificates"),
            ConfigError::ClientTls(_) => ("certificates", "TLS of the etcd endpoint"),
            ConfigError::AuthToken(_) => ("settings", "JSON web tokens"),
            ConfigError::NotInitialised { .. } => ("settings", "First start"),
            _ => ("settings", "Files"),
        };
        let found = Finding::problem(Fault::Config, subject, error.to_string());
        findings.push(found.in_section(section));
    }
    for warning in &survey.warnings {
        findings.push(Finding::warning("settings", warning.clone()).in_section("Files"));
    }
    let dir = &args.storage_dir;
    if next_of(dir).join(INIT).exists() {
        let next = next_of(dir);
        let text = format!(
            "{} takes the place of this directory at the next start",
            next.display()
        );
        findings.push(Finding::warning("settings", text).in_section("More nodes"));
    }
    if dir.join(UPDATE).exists() && survey.start.is_some() {
        let text = "update.yaml gives the node another address at the next start";
        findings.push(Finding::note("settings", text).in_section("Changing a node's address"));
    }
    if survey.errors.is_empty() && survey.warnings.is_empty() {
        findings.push(Finding::ok(
            "settings",
            how_it_starts(survey.start.as_ref()),
        ));
    }
    survey
}

fn how_it_starts(start: Option<&Start>) -> String {
    match start {
        Some(Start::First { address }) => format!("a start begins a new cluster at {address}"),
        Some(Start::Join { address, .. }) => format!("a start joins a cluster as {address}"),
        Some(Start::Move { address }) => format!("a start goes on with the node as {address}"),
        Some(Start::Again) | None => "a start goes on with the node".to_owned(),
    }
}

/// Checks the engine's files as a start does. Of a directory that nobody holds.
pub fn engine(dir: &Path, start: Option<&Start>, findings: &mut Vec<Finding>) {
    // If the files do not tell, as the node that it was.
    let start = start.unwrap_or(&Start::Again);
    let identity = match start.check_identity(dir) {
        Ok(Some(identity)) => identity,
        Ok(None) => {
            findings.push(Finding::note("log", "no node has been here yet"));
            return;
        }
        Err(error) => {
            let found = Finding::problem(Fault::Config, "settings", error.to_string());
            findings.push(found.in_section("When it does not start"));
            return;
        }
    };
    let began = Instant::now();
    let report = match check_start(dir, identity.id, identity.bootstrap) {
        Ok(report) => report,
        Err(error) => {
            findings.push(of_node(&error));
            return;
        }
    };
    findings.push(Finding::ok(
        "log",
        format!(
            "whole, up to entry {} of term {}: {} read in {:.1} s",
            report.last_index,
            report.last_term,
            bytes(report.bytes_read),
            began.elapsed().as_secs_f64()
        ),
    ));
    if !report.remnants.is_empty() {
        let remnants: Vec<String> = report.remnants.iter().map(ToString::to_string).collect();
        let text = format!("a start ignores or deletes: {}", remnants.join("; "));
        findings.push(Finding::note("log", text));
    }
}

fn of_node(error: &NodeError) -> Finding {
    let (fault, section) = match error {
        NodeError::Damaged { .. } | NodeError::WouldBootstrap { .. } => {
            (Fault::Data, "When the directory of one node is damaged")
        }
        NodeError::DiskFull { .. } => (Fault::DiskFull, "Disk space"),
        _ => (Fault::Config, "When it does not start"),
    };
    Finding::problem(fault, "log", error.to_string()).in_section(section)
}

/// Returns whether the nodes speak TLS, as far as the files tell.
pub fn has_pair(dir: &Path) -> bool {
    [config::CERTIFICATE, KEY]
        .iter()
        .any(|name| dir.join(name).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_user_matters_where_the_server_cannot_use_it() {
        let dir = (10, 20);
        for (name, file, usable) in [
            ("info.yaml", (10, 20, 0o600), true),
            ("tuning.yaml", (0, 0, 0o644), true),
            ("info.yaml", (0, 0, 0o600), false),
            ("info.yaml", (0, 20, 0o640), true),
            ("open-1", (0, 0, 0o644), false),
            ("open-1", (0, 20, 0o660), true),
            ("0000000000000001-0000000000000002", (0, 0, 0o644), false),
            ("metadata1", (0, 0, 0o600), false),
            ("lost+found", (0, 0, 0o700), true),
        ] {
            assert_eq!(is_usable(name, dir, file), usable, "{name} {file:?}");
        }
        assert!(is_usable("info.yaml", (0, 0), (10, 20, 0o600)));
    }
}
