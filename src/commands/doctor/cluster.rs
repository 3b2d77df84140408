//! The cluster, asked from a directory or at an endpoint.

use etcd_proto::etcdserverpb::{MemberListRequest, StatusRequest, StatusResponse};
use tables::bytes;

use crate::{
    args::{Args, DoctorArgs},
    cluster::status::{self, Report, StatusTargets, gather},
    remote::{EndpointUrl, Remote, RemoteError},
    store::QuotaBytes,
};
use command_line::{Fault, Finding, Severity};

/// The part of the quota from which on it is worth a warning, in percent.
const QUOTA_WARNING_PERCENT: u64 = 80;

/// Members that are asked at an endpoint: many more than a cluster has.
const MAX_MEMBERS: usize = 64;

/// Asks all nodes, as `status` does. `runs`: the node of the directory does.
pub async fn by_directory(
    args: &Args,
    runs: bool,
    now_s: i64,
    findings: &mut Vec<Finding>,
) -> Option<Report> {
    // What cannot be read is among the settings.
    let targets = StatusTargets::read(&args.storage_dir, Some(args.enable_tls)).ok()?;
    let others = targets
        .servers
        .iter()
        .filter(|it| it.address != targets.own.address);
    if !runs && others.count() == 0 {
        return None;
    }
    let gathered = gather(&targets, None).await;
    let report = Report::new(&targets, gathered, now_s);
    let (problems, warnings) = &report.findings;
    // That this one does not answer is told already.
    let own = format!("{} cannot be reached", targets.own.address);
    let problems = problems
        .iter()
        .filter(|it| runs || !it.text.starts_with(&own));
    findings.extend(problems.map(|it| of_judge(Severity::Problem, it)));
    findings.extend(warnings.iter().map(|it| of_judge(Severity::Warning, it)));
    match &report.leader {
        _ if report.problems.is_empty() => {
            findings.push(Finding::ok("cluster", report.summary.clone()));
        }
        Some(leader) if !runs => {
            let text = format!("the other nodes have a leader, {}", leader.address);
            findings.push(Finding::ok("cluster", text));
        }
        _ => {}
    }
    if let (Some(total), Some(free)) = (report.database_bytes, report.database_free_bytes) {
        let quota = QuotaBytes(args.quota_backend_bytes).limit_bytes();
        findings.extend(quota.map(|limit| of_quota(total.saturating_sub(free), limit)));
    }
    Some(report)
}

/// Takes over what the judge of the cluster has found.
fn of_judge(severity: Severity, found: &status::Finding) -> Finding {
    let text = found.text.clone();
    let finding = match (severity, found.kind) {
        (Severity::Problem, status::Kind::NoLeader) => {
            Finding::problem(Fault::NoLeader, "cluster", text)
        }
        (Severity::Problem, _) => Finding::problem(Fault::Degraded, "cluster", text),
        _ => Finding::new(severity, "cluster", text),
    };
    finding.with_remedy(found.remedy.clone(), found.section)
}

fn of_quota(used: u64, limit: u64) -> Finding {
    let text = format!("{} of {} are in use", bytes(used), bytes(limit));
    match used.saturating_mul(100) >= limit.saturating_mul(QUOTA_WARNING_PERCENT) {
        true => Finding::warning("quota", text).with_remedy(
            "compact and defragment, delete keys (k8s-dqlite top shows which are many), or raise --quota-backend-bytes",
            "When the quota is reached",
        ),
        false => Finding::ok("quota", text),
    }
}

/// Asks one server, and the others that it names.
pub async fn by_endpoint(url: &EndpointUrl, wanted: &DoctorArgs, findings: &mut Vec<Finding>) {
    if let Err(error) = ask_all(url, wanted, findings).await {
        let fault = match &error {
            RemoteError::Unreachable { .. } | RemoteError::Unavailable { .. } => Fault::Unreachable,
            RemoteError::Silent { .. } | RemoteError::TimedOut { .. } => Fault::TimedOut,
            RemoteError::Refused { .. } => Fault::Refused,
            RemoteError::Tls { .. }
            | RemoteError::Forbidden { .. }
            | RemoteError::NotWithTls(..) => Fault::Config,
        };
        findings.push(Finding::problem(fault, "server", error.to_string()));
    }
}

async fn ask_all(
    url: &EndpointUrl,
    wanted: &DoctorArgs,
    findings: &mut Vec<Finding>,
) -> Result<(), RemoteError> {
    let (mut remote, status) = ask(url, wanted).await?;
    of_status(&status, findings);
    let listed = remote
        .cluster
        .member_list(MemberListRequest::default())
        .await;
    let listed = listed.map_err(|error| remote.failed(&error))?.into_inner();
    for member in listed.members.iter().take(MAX_MEMBERS) {
        let Some(other) = member.client_ur_ls.first() else {
            let text = format!("{} has told no address for clients", member.name);
            findings.push(Finding::note("cluster", text));
            continue;
        };
        let asked = match other.parse() {
            Ok(other) if &other == url => continue,
            Ok(other) => ask(&other, wanted).await.map_err(|error| error.to_string()),
            Err(_) => continue,
        };
        findings.push(match asked {
            Err(error) => Finding::problem(Fault::Degraded, "cluster", error).with_remedy(
                "start the node, or remove it if it is lost for good",
                "Several nodes",
            ),
            Ok((_, other)) if other.version != status.version => {
                Finding::warning("cluster", format!("{} runs another version", member.name))
                    .with_remedy("finish the upgrade", "Upgrade")
            }
            Ok(_) => Finding::ok("cluster", format!("{} answers", member.name)),
        });
    }
    Ok(())
}

async fn ask(
    url: &EndpointUrl,
    wanted: &DoctorArgs,
) -> Result<(Remote, StatusResponse), RemoteError> {
    let (files, login) = (wanted.remote.tls_files(), wanted.remote.login());
    let mut remote = Remote::connect(url, &files, login.as_ref()).await?;
    let status = remote.maintenance.status(StatusRequest::default()).await;
    let status = status.map_err(|error| remote.failed(&error))?.into_inner();
    Ok((remote, status))
}

fn of_status(status: &StatusResponse, findings: &mut Vec<Finding>) {
    if status.leader == 0 {
        let found = Finding::problem(Fault::NoLeader, "cluster", "the server knows no leader");
        findings.push(found.with_remedy(
            "run k8s-dqlite doctor on the machines of the nodes",
            "When a majority is lost",
        ));
    } else {
        findings.push(Finding::ok("server", "it answers, and knows its leader"));
    }
    for error in status.errors.iter().filter(|_| status.leader != 0) {
        let found = Finding::problem(Fault::Degraded, "alarms", error.clone());
        findings.push(found.with_remedy(
            "make space or compare the nodes first, then disarm it: etcdctl alarm disarm",
            "When the quota is reached",
        ));
    }
    let (used, limit) = (status.db_size_in_use, status.db_size_quota);
    if limit > 0 {
        findings.push(of_quota(used.cast_unsigned(), limit.cast_unsigned()));
    }
}
