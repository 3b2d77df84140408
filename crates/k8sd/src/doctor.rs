//! Everything that can be checked about a member, as a list with remedies. Changes nothing.
//!
//! Of a daemon that runs it asks that; of one that does not it reads the database as a start does, and looks whether this
//! machine has the member's address.

use std::{fs, os::unix::fs::MetadataExt, path::Path, time::Duration};

use command_line::{Diagnosis, Fault, Finding};
use dqlite::{
    node::DirLock,
    proxy::BoundPort,
    tls::{Pair, TlsError},
};
use hyper::Method;
use serde_json::Value;

use crate::{
    Error,
    api::{CheckReport, ClusterMember},
    client::Target,
    offline::check_whole,
    source,
    state::{DaemonFile, StateDir},
    trust::Truststore,
};

/// The sections are those of this page.
const PAGE: &str = "docs/k8sd.md";

const DAY_S: i64 = 24 * 3600;

/// The days before its end from which on a certificate is worth a warning, as for the server's.
const WARNING_DAYS: i64 = 30;

/// One question to the daemon, which may ask the leader.
const ASK_TIMEOUT: Duration = Duration::from_secs(20);

const GROUP_OR_OTHERS: u32 = 0o077;

/// The status of a member that answers.
const ONLINE: &str = "ONLINE";

/// `now_s` is in seconds since 1970.
pub async fn diagnose(state: &StateDir, now_s: i64) -> Diagnosis {
    let mut findings = Vec::new();
    let own = directory(state, &mut findings);
    keys(state, &mut findings);
    certificates(state, now_s, &mut findings);
    let daemon = Target::Socket(state.control_socket());
    if state.is_served().await {
        findings.push(Finding::ok("daemon", "it runs on this directory"));
        online(&daemon, own.is_some(), &mut findings).await;
    } else {
        findings.push(Finding::note("daemon", "none runs on this directory"));
        if let Some(own) = &own {
            offline(state, own, &mut findings).await;
        }
    }
    Diagnosis::new(state.root().display().to_string(), findings).with_page(PAGE)
}

/// Looks at who the member is, and whom it trusts.
fn directory(state: &StateDir, findings: &mut Vec<Finding>) -> Option<DaemonFile> {
    let root = state.root();
    if let Err(error) = fs::read_dir(root) {
        let text = format!("cannot read {}: {error}", root.display());
        let found = Finding::problem(Fault::Config, "directory", text);
        findings.push(found.with_remedy(
            "name the state directory with --state-dir, and run this as root",
            "Who may do what",
        ));
        return None;
    }
    let own = match state.read_daemon() {
        Ok(Some(own)) => own,
        Ok(None) => {
            let text = "no member of a cluster: k8sd bootstrap or k8sd join makes it one";
            findings.push(Finding::note("directory", text));
            return None;
        }
        Err(error) => {
            findings.push(Finding::problem(
                Fault::Config,
                "directory",
                error.to_string(),
            ));
            return None;
        }
    };
    let text = format!("of the member {} at {}", own.name, own.address);
    findings.push(Finding::ok("directory", text));
    match Truststore::load(state).map(|trust| trust.entries()) {
        Ok(entries) if entries.iter().any(|entry| entry.name == own.name) => {
            let text = format!("trusted members: {}, this one among them", entries.len());
            findings.push(Finding::ok("truststore", text));
        }
        Ok(_) => {
            let text = "this member is not in its own truststore: it may have been removed";
            let found = Finding::problem(Fault::Config, "truststore", text);
            findings.push(found.with_remedy(
                "see k8sd members on another one; a member that was removed empties its state directory and joins anew",
                "When things fail",
            ));
        }
        Err(error) => {
            let found = Finding::problem(Fault::Config, "truststore", error.to_string());
            findings.push(found.with_remedy(
                "delete the damaged file: the daemon writes it again from the rows",
                "Who may do what",
            ));
        }
    }
    Some(own)
}

/// Looks whether private keys are private.
fn keys(state: &StateDir, findings: &mut Vec<Finding>) {
    let paths = ["server", "cluster"].map(|name| state.pair(name).1);
    let mut are_private = true;
    for path in paths
        .iter()
        .map(|path| path.as_path())
        .chain([state.database().as_path()])
    {
        let Ok(found) = fs::metadata(path) else {
            continue;
        };
        if found.mode() & GROUP_OR_OTHERS == 0 {
            continue;
        }
        are_private = false;
        let mode = found.mode() & 0o7777;
        let text = format!("other users may use {} (mode {mode:o})", path.display());
        let remedy = format!("chmod go= {}", path.display());
        findings.push(Finding::warning("permissions", text).with_remedy(remedy, "The datastore"));
    }
    if are_private {
        findings.push(Finding::ok("permissions", "keys and database are private"));
    }
}

fn certificates(state: &StateDir, now_s: i64, findings: &mut Vec<Finding>) {
    for (name, whose) in [("server", "of this member"), ("cluster", "of the cluster")] {
        let (certificate, key) = state.pair(name);
        if !certificate.exists() && !key.exists() {
            continue;
        }
        findings.push(match valid_s(&certificate, &key) {
            Ok(valid_s) => validity(whose, valid_s, now_s),
            Err(error) => Finding::problem(Fault::Config, "certificates", error.to_string())
                .with_remedy(
                    "bring the pair back from a copy; that of the cluster is the same on every member",
                    "Who may do what",
                ),
        });
    }
}

fn valid_s(certificate: &Path, key: &Path) -> Result<(i64, i64), TlsError> {
    Pair::load(certificate, key)?
        .valid_s()
        .map_err(TlsError::Refused)
}

fn validity(whose: &str, (begins_s, ends_s): (i64, i64), now_s: i64) -> Finding {
    let days = (ends_s - now_s).div_euclid(DAY_S);
    let text = |state: String| format!("the certificate {whose} {state}");
    let remedy =
        "k8sd cannot replace it while it runs: let the members join a new cluster before it ends";
    let section = "Not implemented";
    if begins_s > now_s {
        let state = text("is not valid yet: this machine's clock may be wrong".to_owned());
        Finding::problem(Fault::Degraded, "certificates", state)
            .with_remedy("set the clock", section)
    } else if days < 0 {
        let state = text("has expired: other members refuse it".to_owned());
        Finding::problem(Fault::Degraded, "certificates", state).with_remedy(remedy, section)
    } else if days < WARNING_DAYS {
        Finding::warning("certificates", text(format!("expires in {days} days")))
            .with_remedy(remedy, section)
    } else {
        Finding::ok("certificates", text(format!("is valid for {days} days")))
    }
}

/// Asks the daemon about its cluster.
async fn online(daemon: &Target, is_member: bool, findings: &mut Vec<Finding>) {
    let ready = daemon.call::<Value>(Method::GET, "/core/1.0/ready", None, ASK_TIMEOUT);
    if let Err(error) = ready.await {
        findings.push(match is_member {
            true => of_error("daemon", &error),
            false => Finding::note("daemon", error.to_string()),
        });
        return;
    }
    let asked = daemon.call(Method::GET, "/core/1.0/cluster", None, ASK_TIMEOUT);
    let members: Vec<ClusterMember> = match asked.await {
        Ok(members) => members,
        Err(error) => {
            findings.push(without_majority(error.to_string()));
            return;
        }
    };
    findings.push(Finding::ok(
        "database",
        "it answers: a majority of the members runs",
    ));
    let (online, others): (Vec<_>, Vec<_>) = members.iter().partition(|it| it.status == ONLINE);
    for member in others {
        let text = format!("{} at {} is {}", member.name, member.address, member.status);
        let found = Finding::problem(Fault::Degraded, "members", text);
        findings.push(found.with_remedy(
            "start k8sd there; if it is lost for good, k8sd remove NAME --force",
            "When things fail",
        ));
    }
    if online.len() == members.len() {
        let text = format!("online: {0} of {0}", members.len());
        findings.push(Finding::ok("members", text));
    }
    let path = "/core/internal/check?repair=0";
    let checked = daemon.call(Method::POST, path, None, ASK_TIMEOUT).await;
    match checked {
        Ok(CheckReport {
            findings: found, ..
        }) if found.is_empty() => {
            findings.push(Finding::ok(
                "check",
                "members, dqlite's servers and trust agree",
            ));
        }
        Ok(CheckReport {
            findings: found, ..
        }) => {
            let warnings = found.into_iter().map(|text| {
                Finding::warning("check", text).with_remedy(
                    "look again in a minute; what stays is for k8sd cluster check --repair",
                    "Changes that are interrupted",
                )
            });
            findings.extend(warnings);
        }
        Err(error) => findings.push(of_error("check", &error)),
    }
}

/// Looks at a member whose daemon does not run.
async fn offline(state: &StateDir, own: &DaemonFile, findings: &mut Vec<Finding>) {
    findings.push(database(state));
    let bound = BoundPort::bind(&own.address).await.map(drop);
    findings.push(match bound {
        Ok(()) => Finding::ok("address", "this machine has it, and its port is free"),
        Err(error) => Finding::problem(Fault::Listen, "address", error.to_string()).with_remedy(
            "stop what has the port, or give this machine the address; after a move to another network, k8sd recover \
             --addresses",
            "When all addresses have changed",
        ),
    });
    let mut notes = Vec::new();
    match source::ready_member(state, &mut notes).await {
        Ok(Some((address, _))) => {
            let text = format!("the one at {address} answers, and its database is open");
            findings.push(Finding::ok("members", text));
        }
        Ok(None) if notes.is_empty() => {
            findings.push(Finding::note("members", "there are no others"))
        }
        Ok(None) => findings.push(without_majority(format!(
            "no other member is ready: {}",
            notes.join("; ")
        ))),
        Err(error) => findings.push(of_error("members", &error)),
    }
}

fn database(state: &StateDir) -> Finding {
    let database = state.database();
    let read = DirLock::acquire_unchanged(&database)
        .map_err(Error::from)
        .and_then(|lock| check_whole(&database).map(|own| (own, lock)));
    match read {
        Ok((own, _lock)) => {
            let text = format!("whole, of the node {:x} at {}", own.id, own.address);
            Finding::ok("database", text)
        }
        Err(error @ Error::Damaged { .. }) => {
            Finding::problem(Fault::Data, "database", error.to_string()).with_remedy(
                "where other members have the data, remove this one there (--force), empty its state directory and let it \
                 join again; otherwise bring the directory back from a copy",
                "When things fail",
            )
        }
        Err(error) => of_error("database", &error),
    }
}

fn without_majority(text: String) -> Finding {
    Finding::problem(Fault::NoLeader, "database", text).with_remedy(
        "start k8sd on the other members; a majority that is lost for good is given up with k8sd recover",
        "When a majority is lost",
    )
}

fn of_error(subject: &'static str, error: &Error) -> Finding {
    let fault = match error {
        Error::Forbidden(_) | Error::File { .. } | Error::Refused { status: 403, .. } => {
            Fault::Config
        }
        Error::Damaged { .. } | Error::DamagedDatabase { .. } => Fault::Data,
        Error::Late(_) => Fault::TimedOut,
        _ => Fault::Unreachable,
    };
    Finding::problem(fault, subject, error.to_string())
        .with_remedy("see the log of the daemon", "When things fail")
}

#[cfg(test)]
mod tests {
    use command_line::Severity;

    use super::*;

    #[test]
    fn a_certificate_is_told_by_the_days_that_are_left() {
        let now_s = 1_700_000_000;
        for (begins_s, ends_s, severity) in [
            (0, now_s + 31 * DAY_S, Severity::Ok),
            (0, now_s + 29 * DAY_S, Severity::Warning),
            (0, now_s - 1, Severity::Problem),
            (now_s + 1, now_s + 31 * DAY_S, Severity::Problem),
        ] {
            let found = validity("of this member", (begins_s, ends_s), now_s);
            assert_eq!(found.severity, severity, "{found:?}");
        }
    }

    #[tokio::test]
    async fn a_directory_of_nobody_has_no_problem() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        state.create().unwrap();
        let told = diagnose(&state, 1_700_000_000).await;
        assert_eq!(told.worst(), None, "{told}");
        let missing = diagnose(&StateDir::new(dir.path().join("none")), 0).await;
        assert_eq!(missing.worst(), Some(Fault::Config), "{missing}");
    }
}
