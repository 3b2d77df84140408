//! The bytes that the store makes the engine log.

use std::{fs, path::Path};

use etcd_state::mvcc::Revision;
use rand::{RngCore, SeedableRng, rngs::SmallRng};

use super::harness::{Engine, Running, put};

const KEYS: usize = 256;
const VALUE_BYTES: usize = 2048;

/// The most that the deletion of a row of 2 KiB may log, in bytes: less than its page. With pages overwritten by zeros
/// it is 5,000.
const MAX_BYTES_PER_PURGED_CHANGE: usize = 1500;

/// The length of all entries in the log; the end of an open segment is zeros that are not written yet.
fn log_bytes(dir: &Path) -> usize {
    let names = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let is_segment = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("open-")
            || name
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'-')
    };
    let lengths = names.filter(is_segment).map(|path| {
        let bytes = fs::read(path).unwrap();
        bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1)
    });
    lengths.sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purged_change_costs_less_log_than_its_page() {
    let engine = Engine::start();
    let running = Running::open(engine.endpoint()).await;
    let mut rng = SmallRng::seed_from_u64(1);
    let mut revision = 0;
    for round in 0..2 {
        for key in 0..KEYS {
            let mut request = put(&format!("key-{key:04}"), "");
            let mut value = vec![round; VALUE_BYTES];
            rng.fill_bytes(&mut value);
            request.value = value.into();
            let response = running.store.put(request).await.unwrap();
            revision = response.header.unwrap().revision;
        }
    }
    let before = log_bytes(engine.dir.path());
    running
        .store
        .compact(Revision::new(revision), true)
        .await
        .unwrap();
    let logged = log_bytes(engine.dir.path()) - before;
    let per_change = logged / KEYS;
    println!("{per_change} bytes for each purged change");
    assert!(
        (1..=MAX_BYTES_PER_PURGED_CHANGE).contains(&per_change),
        "{per_change}"
    );
    running.stop().await;
}
