//! The engine's log on a node's disk, kept so short that a node that was away is sent a snapshot.

use super::trio::persist;
use crate::harness::*;

/// More than is kept, and than there is between two snapshots, with what [`keep_little`] sets.
pub const ENTRIES: usize = 1400;

/// The least that tuning.yaml may ask for.
pub fn keep_little(node: &Server) {
    let tuning = "snapshot: {threshold: 384, trailing: 512, strategy: static}\n";
    std::fs::write(node.storage_dir().join("tuning.yaml"), tuning).unwrap();
}

/// Writes as many entries, so that a node that has none of them is sent a snapshot instead.
pub async fn write_entries(api: &Api) {
    for n in 0..ENTRIES {
        let key = format!("key{}", n % 10);
        persist(async || api.try_ask(put(key.clone(), "x")).await).await;
    }
}

/// Waits until a node that is up again has a snapshot above `former` and no segment of its log is
/// closed, as after a snapshot that was sent: one that it took of so many entries would have closed
/// some.
pub async fn wait_for_snapshot(node: &Server, former: u64) {
    until("the node was sent a snapshot", async || {
        newest_snapshot(node) > former && files(node).1 == 0
    })
    .await;
}

/// The newest snapshot of a node, or 0.
pub fn newest_snapshot(node: &Server) -> u64 {
    files(node).0.into_iter().max().unwrap_or(0)
}

/// The last entries of the snapshots, and the number of closed segments.
fn files(node: &Server) -> (Vec<u64>, usize) {
    let names = std::fs::read_dir(node.storage_dir()).unwrap();
    let (mut snapshots, mut segments) = (Vec::new(), 0);
    for entry in names {
        let name = entry.unwrap().file_name().into_string().unwrap();
        match name.split('-').collect::<Vec<_>>()[..] {
            ["snapshot", _, last, time] if !time.ends_with(".meta") => {
                snapshots.push(last.parse().unwrap());
            }
            [first, last] if first.parse::<u64>().is_ok() && last.parse::<u64>().is_ok() => {
                segments += 1;
            }
            _ => {}
        }
    }
    (snapshots, segments)
}
