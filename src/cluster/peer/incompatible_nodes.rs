//! Finds the nodes that do not run this program.

use std::time::Duration;

use dqlite::wire::Server;
use tokio::{task::JoinSet, time::timeout};

use super::{Dialer, EngineView};
use crate::store::conversion::Others;

/// The longest that a node may take to answer: a connection is made within two seconds.
const ASK_TIMEOUT: Duration = Duration::from_secs(4);

/// Asks all other nodes, stand-bys and spares too, whether they speak as this program does.
pub struct IncompatibleNodes<'a> {
    pub own_id: u64,
    pub engine: &'a EngineView,
    pub dialer: &'a Dialer,
}

impl Others for IncompatibleNodes<'_> {
    async fn missing(&self) -> Vec<String> {
        let servers = match self.engine.servers().await {
            Ok(servers) => servers,
            Err(error) => {
                return vec![format!(
                    "nodes that are unknown, because dqlite does not list them: {error}"
                )];
            }
        };
        let mut asking = JoinSet::new();
        for server in servers
            .into_iter()
            .filter(|server| server.id != self.own_id)
        {
            let dialer = self.dialer.clone();
            asking.spawn(async move {
                let about = timeout(ASK_TIMEOUT, dialer.about(&server.address)).await;
                match about {
                    Ok(Some(about)) if about.member_id == server.id => None,
                    _ => Some(name(&server)),
                }
            });
        }
        let mut missing: Vec<_> = asking.join_all().await.into_iter().flatten().collect();
        missing.sort_unstable();
        missing
    }
}

fn name(server: &Server) -> String {
    format!("{} ({:x})", server.address, server.id)
}
