//! Time and memory of a large conversion, for docs/operations.md. With K8S_DQLITE_BIN a release build:
//!
//!     K8S_DQLITE_BIN=… cargo test --test server -- --ignored --nocapture a_large_table

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::Instant;

use super::{
    from_environment, hash,
    table::{GoTable, Planter},
};
use crate::harness::*;

/// Size of the database; TAKE_OVER_MIB overrides it.
const MIB: u64 = 1024;

/// Bytes of a value; each key has three versions, so values and old values are five of them.
const VALUE_BYTES: usize = 2000;
const VERSIONS: usize = 3;
const KEY_BYTES: u64 = 5 * VALUE_BYTES as u64 + 500;

/// Keys that are written at a time.
const KEYS_AT_ONCE: u64 = 200;

const LONG_TIMEOUT: Duration = Duration::from_secs(1200);

pub fn memory_mib(id: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.map_or(0, |kib| kib.parse::<u64>().unwrap() / 1024)
}

/// Waits until the server has said one of some texts.
pub async fn wait_for(server: &mut Server, from: usize, texts: &[&str]) {
    let deadline = Instant::now() + LONG_TIMEOUT;
    while !texts
        .iter()
        .any(|text| server.output()[from..].contains(text))
    {
        assert!(server.process().exited().is_none(), "the server ended");
        assert!(Instant::now() < deadline, "{texts:?}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

#[tokio::test]
#[ignore = "writes gigabytes"]
async fn a_large_table() {
    let mut random = StdRng::seed_from_u64(1);
    let keys = from_environment("TAKE_OVER_MIB").unwrap_or(MIB) * (1 << 20) / KEY_BYTES;
    let mut server = Server::start_with(
        Kind::K8sDqlite,
        Options::flags(&["--quota-backend-bytes=-1"]),
    )
    .await;
    let mut planter = Planter::begin(server.node_port()).await;
    let mut table = GoTable::new(1 << 16);
    let mut rows = 0;
    for first in (0..keys).step_by(KEYS_AT_ONCE as usize) {
        for _ in 0..VERSIONS {
            for key in first..keys.min(first + KEYS_AT_ONCE) {
                // As compressible as objects of Kubernetes are.
                let byte = |random: &mut StdRng| b"0123456789abcdef"[random.random_range(0..16)];
                let value = (0..VALUE_BYTES).map(|_| byte(&mut random)).collect();
                let name = format!("/registry/things/namespace-{}/thing-{key:09}", key % 97);
                table.put(name.as_bytes(), Some(value), 0);
            }
        }
        let written: Vec<_> = table.rows.iter().collect();
        rows += written.len();
        planter.insert(&written).await;
        table.rows.clear();
    }
    planter.finish(1 << 16, table.sequence).await;
    // The log of what was planted is replaced by a snapshot before, as it is in a store that has grown slowly.
    server.kill9();
    println!("{rows} rows of {keys} keys");

    let from = server.output().len();
    server.launch();
    let id = server.process().id();
    wait_for(&mut server, from, &["backing up the old tables"]).await;
    println!("before the backup: {} MiB", memory_mib(id, "VmRSS"));
    let started = Instant::now();
    wait_for(&mut server, from, &["written and verified"]).await;
    println!(
        "backup: {:?}, at most {} MiB so far",
        started.elapsed(),
        memory_mib(id, "VmHWM")
    );
    let started = Instant::now();
    wait_for(&mut server, from, &["is converted"]).await;
    println!(
        "conversion: {:?}, at most {} MiB so far",
        started.elapsed(),
        memory_mib(id, "VmHWM")
    );
    let started = Instant::now();
    wait_for(&mut server, from, &["ready"]).await;
    println!(
        "loading: {:?}, at most {} MiB, now {} MiB",
        started.elapsed(),
        memory_mib(id, "VmHWM"),
        memory_mib(id, "VmRSS")
    );
    let api = server.api().await;
    assert_eq!(api.revision().await, table.sequence);
    let before = hash(&api).await;
    server.kill9();
    let from = server.output().len();
    server.launch();
    wait_for(&mut server, from, &["ready"]).await;
    println!(
        "after a restart: {} MiB",
        memory_mib(server.process().id(), "VmRSS")
    );
    assert_eq!(hash(&server.api().await).await, before);
}
