//! The same faults on one node of three: the cluster serves all that it has answered, and that node serves or
//! refuses by name.

mod calls;
mod files;

use std::collections::BTreeSet;

use etcd_proto::etcdserverpb::{HashKvRequest, MoveLeaderRequest, StatusRequest};

use super::load::Written;
use super::{TUNING, last_line};
use crate::harness::*;
use crate::nodes::trio::Trio;

/// The node whose files are changed, and whose calls fail.
const AT: usize = 1;

/// The number of attempts to transfer the leadership.
const TRANSFERS: usize = 20;

struct Cluster {
    trio: Trio,
    written: Written,
}

impl Cluster {
    async fn start() -> Self {
        let prepare = |node: &Server| {
            std::fs::write(node.storage_dir().join("tuning.yaml"), TUNING).unwrap();
        };
        Self {
            trio: Trio::start_prepared(&Options::default(), prepare).await,
            written: Written::default(),
        }
    }

    fn node(&mut self) -> &mut Server {
        &mut self.trio.nodes[AT]
    }

    /// Waits until the node serves, or has ended: then its exit code, which is one of `allowed`, with a reason.
    async fn serves_or_refuses(&mut self, allowed: &[i32], what: &str) -> Option<i32> {
        if self.node().is_ready().await {
            return None;
        }
        Some(self.refusal(allowed, what))
    }

    /// The exit code of a node that has ended.
    fn refusal(&mut self, allowed: &[i32], what: &str) -> i32 {
        let status = self.node().process().exited().expect("it has ended");
        let last = last_line(self.node());
        let code = status.code();
        assert!(
            code.is_some_and(|code| allowed.contains(&code)) && last.contains("ERROR"),
            "{what}: {status}: {last}"
        );
        println!("{what}: {last}");
        self.node().forget();
        code.unwrap()
    }

    /// Checks that each node that runs serves all that was answered, and the same.
    async fn check(&mut self) {
        let revision = self.written.revision;
        for node in self.trio.nodes.iter().filter(|node| node.is_started()) {
            self.written.check(node).await;
        }
        // The hash is of what is kept since the last compaction, which nodes hear of one after the other.
        until("all nodes know the same compaction", async || {
            let (mut compactions, mut hashes) = (BTreeSet::new(), BTreeSet::new());
            for node in self.trio.nodes.iter().filter(|node| node.is_started()) {
                let hash = node.api().await.ask(HashKvRequest { revision }).await;
                compactions.insert(hash.compact_revision);
                hashes.insert(hash.hash);
            }
            assert!(compactions.len() > 1 || hashes.len() <= 1, "{hashes:?}");
            compactions.len() <= 1
        })
        .await;
    }

    async fn write(&mut self, writes: usize, bytes: usize) {
        let (written, trio) = (&mut self.written, &self.trio);
        written.write_through(&trio.nodes, writes, bytes).await;
    }

    /// Lets the node lead, or one of the others. Returns whether that came about: a transfer fails where the
    /// other one is behind, as on a machine that does much else.
    async fn let_lead(&mut self, leads: bool) -> bool {
        let next = if leads { AT } else { (AT + 1) % 3 };
        let nodes = &self.trio.nodes;
        let status = nodes[next].api().await.ask(StatusRequest {}).await;
        let target_id = status.header.unwrap().member_id;
        for _ in 0..TRANSFERS {
            let leader = self.trio.leader().await;
            if (leader == AT) == leads {
                return true;
            }
            let api = nodes[leader].api().await;
            let _ = api.try_ask(MoveLeaderRequest { target_id }).await;
            // Each failed one is an election; a write says that it is over, and is on all nodes.
            self.written.write_through(nodes, 1, 1).await;
        }
        (self.trio.leader().await == AT) == leads
    }
}
