//! Tells the service manager about the running server: a line for people, and signs of life.

use std::{future::pending, time::Duration};

use dqlite::wire::NodeId;
use service_manager::Watchdog;
use tokio::{sync::watch, time::sleep};

use crate::{cluster::peer::ClusterView, store::Store};

/// The interval of looks at a store that is not loaded, which nothing announces.
const LOAD_INTERVAL: Duration = Duration::from_secs(1);

/// Tells the state whenever it changes, and gives signs of life while the engine answers. Runs until it is dropped.
pub(super) async fn tell_service_manager(
    store: Store,
    cluster_view: watch::Receiver<ClusterView>,
    own_id: NodeId,
    listen: String,
) {
    if !service_manager::is_listening() {
        return;
    }
    tokio::join!(
        tell_state(&store, cluster_view, own_id, &listen),
        Watchdog::run_if_any(|| store.engine_silent_for()),
    );
}

async fn tell_state(
    store: &Store,
    mut cluster_view: watch::Receiver<ClusterView>,
    own_id: NodeId,
    listen: &str,
) {
    let mut told = String::new();
    // The line of the stop is the last one.
    while !stopping::is_noted() {
        let is_loaded = store.is_loaded();
        let line = line(&cluster_view.borrow_and_update(), is_loaded, own_id, listen);
        if line != told {
            service_manager::status(&line).await;
            told = line;
        }
        let loading = async {
            match is_loaded {
                true => pending().await,
                false => sleep(LOAD_INTERVAL).await,
            }
        };
        tokio::select! {
            () = loading => {}
            changed = cluster_view.changed() => if changed.is_err() { return },
        }
    }
}

fn line(cluster_view: &ClusterView, is_loaded: bool, own_id: NodeId, listen: &str) -> String {
    let leader = &cluster_view.view.leader;
    match (is_loaded, leader) {
        (false, None) => {
            "waiting for a leader, which needs a majority of the nodes: start the others".to_owned()
        }
        (false, Some(_)) => "loading the store".to_owned(),
        (true, None) => {
            format!("serving {listen}; no leader: writes wait for a majority of the nodes")
        }
        (true, Some((id, _))) if NodeId::new(*id) == own_id => {
            format!("serving {listen}; leads")
        }
        (true, Some((_, address))) => format!("serving {listen}; follows {address}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_the_node_waits_for_or_does() {
        let own = NodeId::new(1);
        let mut known = ClusterView::default();
        let said = |known: &ClusterView, is_loaded| line(known, is_loaded, own, "tcp://:1");
        assert!(said(&known, false).starts_with("waiting for a leader"));
        assert!(said(&known, true).starts_with("serving tcp://:1; no leader"));
        known.view.leader = Some((2, "10.0.0.2:9000".to_owned()));
        assert_eq!(said(&known, false), "loading the store");
        assert_eq!(
            said(&known, true),
            "serving tcp://:1; follows 10.0.0.2:9000"
        );
        known.view.leader = Some((1, "10.0.0.1:9000".to_owned()));
        assert_eq!(said(&known, true), "serving tcp://:1; leads");
    }
}
