//! A disk without space: writes are refused as etcd refuses them, reads go on, and space heals it.
//!
//! Needs root, to mount a disk of 96 MiB; without, it says so and does nothing.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tonic::Code;

use super::prepare;
use crate::harness::*;

/// dqlite's log grows in pieces of 8 MiB, and it has three or four of them.
const DISK: &str = "size=96m";

struct Disk(PathBuf);

impl Disk {
    fn mount(dir: &Path) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", DISK, "k8s-dqlite-test"])
            .arg(dir)
            .status()
            .is_ok_and(|status| status.success());
        if !mounted {
            eprintln!("skipped: mounting a small disk needs root");
        }
        mounted.then(|| Self(dir.to_owned()))
    }

    /// Takes all the space that is left.
    fn fill(&self) {
        let mut file = File::create(self.0.join("filler")).unwrap();
        let block = vec![1; 4096];
        while file.write_all(&block).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the server, which is stopped later, may still have files open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_until_there_is_space() {
    let mut server = prepare();
    let init = fs::read(server.storage_dir().join("init.yaml")).unwrap();
    let Some(disk) = Disk::mount(&server.storage_dir()) else {
        return;
    };
    fs::write(server.storage_dir().join("init.yaml"), init).unwrap();
    server.restart().await;
    let api = server.api().await;
    api.put("before", "1").await;
    disk.fill();
    // What is allocated already takes some.
    let value = vec![b'x'; 512 * 1024];
    let (mut answered, mut refusal) = (0, None);
    for index in 0..200 {
        match api.try_ask(put(format!("k{index}"), value.clone())).await {
            Ok(_) => answered += 1,
            Err(status) => {
                refusal = Some(status);
                break;
            }
        }
    }
    let refusal = refusal.expect("a full disk refuses writes");
    assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal}");
    assert_eq!(
        refusal.message(),
        "etcdserver: mvcc: database space exceeded"
    );
    assert_eq!(api.ask(get("before")).await.count, 1, "reads go on");
    assert_eq!(api.ask(get_prefix("k")).await.count, answered);
    disk.free();
    until("writes are taken again", async || {
        api.try_ask(put("after", "1")).await.is_ok()
    })
    .await;
    server.kill9();
    server.restart().await;
    let api = server.api().await;
    assert_eq!(
        api.ask(get_prefix("k")).await.count,
        answered,
        "what was answered is there"
    );
    assert_eq!(api.ask(get("after")).await.count, 1);
    drop(server);
}
