//! Rows, dqlite's cluster and trust compared.

use axum::extract::{Request, State};

use crate::{
    api::CheckReport,
    datastore::servers::check as check_datastore,
    plan::Due,
    reconcile::{look, mend},
    rest::{
        Answered, Shared,
        access::{flag, only_socket},
        answer,
    },
};

/// Compares rows, dqlite's cluster and trust; `repair=1` repairs entries that are certainly not part of a change in
/// progress.
pub async fn check(State(daemon): Shared, request: Request) -> Answered {
    only_socket(&request)?;
    let repair = flag(&request, "repair");
    let cluster = daemon.cluster()?;
    let servers = cluster.nodes().leader().await?.cluster().await?;
    let records = cluster.database.records().await?;
    let mut report = CheckReport::default();
    for finding in look(&cluster, &servers, &records) {
        let text = match finding.due {
            Due::Later => format!("{} (it may still be work in progress)", finding.text),
            Due::Now | Due::Asked => finding.text,
        };
        if let Some(wanted) = finding.repair
            && repair
            && finding.due != Due::Later
        {
            mend(&cluster, &wanted).await?;
            report.repaired.push(text.clone());
        }
        report.findings.push(text);
    }
    report.findings.extend(check_datastore(&cluster).await?);
    answer(report)
}
