//! Finds the nodes that do not run this program, or an older version of it.

use std::time::Duration;

use dqlite::wire::{NodeId, Server};
use peer_proto::AboutResponse;
use tokio::{task::JoinSet, time::timeout};

use super::{Dialer, EngineView};
use crate::store::{ROWS_SCHEMA, conversion::Others};

/// The longest that a node may take to answer: a connection is made within two seconds.
const ASK_TIMEOUT: Duration = Duration::from_secs(4);

/// Asks all other nodes, stand-bys and spares too, whether they know a schema of the database.
pub struct IncompatibleNodes<'a> {
    pub own_id: NodeId,
    pub engine: &'a EngineView,
    pub dialer: &'a Dialer,
}

impl Others for IncompatibleNodes<'_> {
    async fn missing(&self, schema: i64) -> Vec<String> {
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
                    Ok(Some(about))
                        if about.member_id == server.id.number() && knows(&about, schema) =>
                    {
                        None
                    }
                    _ => Some(name(&server)),
                }
            });
        }
        let mut missing: Vec<_> = asking.join_all().await.into_iter().flatten().collect();
        missing.sort_unstable();
        missing
    }
}

/// Nodes before version 0.2 do not tell, and know one row for each change.
fn knows(about: &AboutResponse, schema: i64) -> bool {
    schema <= about.newest_schema.max(ROWS_SCHEMA)
}

fn name(server: &Server) -> String {
    format!("{} ({:x})", server.address, server.id)
}
