//! Tells the service manager about the running daemon: a line for people, and signs of life.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use dqlite::client::{ConnectOptions, Connection};
use service_manager::Watchdog;
use tokio::time::sleep;

use crate::daemon::{Daemon, Phase};

/// The interval of looks at the daemon and at its engine.
const INTERVAL: Duration = Duration::from_secs(1);

/// The longest that one question to the engine may take; the next one follows.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Tells the state whenever it changes, and gives signs of life while the engine answers, if there is one. Runs until it is dropped.
pub(crate) async fn tell_service_manager(daemon: Arc<Daemon>) {
    if !service_manager::is_listening() {
        return;
    }
    let answered = Mutex::new(Instant::now());
    let silent_for = || answered.lock().expect("no panic while locked").elapsed();
    tokio::join!(
        tell_state(&daemon),
        ask_engine(&daemon, &answered),
        Watchdog::run_if_any(silent_for),
    );
}

async fn tell_state(daemon: &Daemon) {
    let mut told = String::new();
    // The line of the stop is the last one.
    while !stopping::is_noted() {
        let line = line(&daemon.phase());
        if line != told {
            service_manager::status(&line).await;
            told = line;
        }
        sleep(INTERVAL).await;
    }
}

fn line(phase: &Phase) -> String {
    match phase {
        Phase::New => {
            "no member of a cluster yet: k8sd bootstrap or k8sd join makes it one".to_owned()
        }
        Phase::Opening(cluster) => format!(
            "{} waits for the database, which needs a majority of the members",
            cluster.own.name
        ),
        Phase::Open(cluster) => {
            let status = cluster.member.status();
            let known = status.borrow();
            let members = known.servers.len();
            match &known.leader {
                Some(leader) if leader.id == cluster.identity.id => {
                    format!("{} leads; members: {members}", cluster.own.name)
                }
                Some(leader) => format!("{} follows {}", cluster.own.name, leader.address),
                None => format!("{} knows no leader", cluster.own.name),
            }
        }
        Phase::Stopping => "stopping".to_owned(),
    }
}

/// Asks the engine who leads, and notes when it answered. Without an engine nothing can be silent.
async fn ask_engine(daemon: &Daemon, answered: &Mutex<Instant>) {
    let options = ConnectOptions {
        connect_timeout: ANSWER_TIMEOUT,
        request_timeout: ANSWER_TIMEOUT,
    };
    let mut connection = None;
    loop {
        let has_answered = match daemon.phase() {
            Phase::New | Phase::Stopping => {
                connection = None;
                true
            }
            Phase::Opening(cluster) | Phase::Open(cluster) => {
                if connection.is_none() {
                    let endpoint = cluster.engine.endpoint();
                    connection = Connection::connect(endpoint, options).await.ok();
                }
                match &mut connection {
                    Some(open) => open.leader().await.is_ok(),
                    None => false,
                }
            }
        };
        match has_answered {
            true => *answered.lock().expect("no panic while locked") = Instant::now(),
            false => connection = None,
        }
        sleep(INTERVAL).await;
    }
}
