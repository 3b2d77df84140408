//! Rows, dqlite's cluster and trust compared.

use axum::extract::{Request, State};

use crate::{
    api::{self, CheckReport},
    datastore::servers,
    rest::{
        Answered, Shared,
        access::{flag, only_socket},
        answer,
    },
};

/// Compares rows, dqlite's cluster and trust; `repair=1` removes what belongs to no member.
pub async fn check(State(daemon): Shared, request: Request) -> Answered {
    only_socket(&request)?;
    let repair = flag(&request, "repair");
    let cluster = daemon.cluster()?;
    let members = cluster.database.members().await?;
    let mut nodes = cluster.nodes();
    let servers = nodes.leader().await?.cluster().await?;
    let mut report = CheckReport::default();
    for server in &servers {
        if members
            .iter()
            .all(|member| member.address != server.address)
        {
            let text = format!(
                "dqlite's server {:x} at {} is no member",
                server.id, server.address
            );
            if repair {
                dqlite::cluster::remove(&mut nodes, server.id).await?;
                report.repaired.push(text.clone());
            }
            report.findings.push(text);
        }
    }
    for member in &members {
        if servers
            .iter()
            .all(|server| server.address != member.address)
        {
            let text = format!(
                "the member {} is no server of dqlite ({})",
                member.name, member.role
            );
            if repair && member.role != api::PENDING {
                cluster.database.remove_member(&member.name).await?;
                report.repaired.push(text.clone());
            }
            report.findings.push(text);
        }
    }
    for entry in cluster.trust.entries() {
        if members.iter().all(|member| member.name != entry.name) {
            report
                .findings
                .push(format!("{} is trusted, and no member", entry.name));
        }
    }
    report.findings.extend(servers::check(&cluster).await?);
    if repair {
        cluster.look().await?;
    }
    answer(report)
}
