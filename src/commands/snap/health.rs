//! The health of the service for `snap list` and `snap info`.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{HookError, SnapPaths};
use crate::{
    cluster::status::{Health, Report},
    commands::status,
};

/// snapd gives this hook 30 s. A first start takes a second or two; `snap install` ends when clients are served.
const TIMEOUT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(250);

pub async fn run(paths: &SnapPaths, now_s: i64) -> Result<(), HookError> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let (state, code, message) = look(paths, now_s).await;
        if state == "okay" || Instant::now() >= deadline {
            return paths.set_health(state, code, &message);
        }
        sleep(PAUSE).await;
    }
}

async fn look(paths: &SnapPaths, now_s: i64) -> (&'static str, &'static str, String) {
    match status::run(&paths.storage(), None, now_s).await {
        Ok(report) => judge(&report),
        Err(error) => ("waiting", "not-started", error.to_string()),
    }
}

fn judge(report: &Report) -> (&'static str, &'static str, String) {
    let own = report.nodes.iter().find(|node| node.is_own);
    let first = || report.problems.first().cloned().unwrap_or_default();
    match (own, report.health) {
        (Some(own), _) if !own.is_ready => {
            ("waiting", "not-ready", "the node is starting".to_owned())
        }
        (_, Health::NoLeader) => ("error", "no-leader", first()),
        (_, Health::Degraded) => ("waiting", "degraded", first()),
        (_, Health::Healthy) => ("okay", "", String::new()),
    }
}
