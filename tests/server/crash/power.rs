//! The power fails under load: the file system of the server is shut down as it is, and mounted again.
//!
//! All that ext4 has not given to its disk by then is lost: contents in the page cache, and files, names and lengths
//! that nobody synchronised. A disk that forgets what it was given and was not told to flush is not tried. Needs
//! root, loop devices and ext4; POWER_CUTS is the number of rounds, without it none is made.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use rand::Rng;

use super::{Rounds, START_MS, from_environment};
use crate::harness::*;

const DISK_BYTES: u64 = 512 * 1024 * 1024;

/// `EXT4_GOING_FLAGS_LOGFLUSH` and `…_NOLOGFLUSH`: whether the journal of the file system gets to the disk first.
const LOG_FLUSH: u32 = 1;
const NO_LOG_FLUSH: u32 = 2;

/// `EXT4_IOC_SHUTDOWN`, `_IOR('X', 125, __u32)`: ends all traffic with the disk at once.
const EXT4_IOC_SHUTDOWN: libc::c_ulong = 0x8004_587d;

/// The exits of a server whose disk is gone: dqlite failed, no room, or the signal that follows.
const ENDS: [i32; 2] = [7, 8];

/// A file system in a file, mounted on a directory.
struct Disk {
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    /// Mounts an empty one, with the files that are there.
    fn mount_over(at: PathBuf, image: PathBuf) -> Self {
        File::create(&image).unwrap().set_len(DISK_BYTES).unwrap();
        run("mkfs.ext4", &["-q", "-F", path(&image)]);
        let files = std::fs::read_dir(&at).unwrap().map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name(), std::fs::read(entry.path()).unwrap())
        });
        let files: Vec<_> = files.collect();
        let disk = Self { image, at };
        disk.mount();
        for (name, content) in files {
            std::fs::write(disk.at.join(name), content).unwrap();
        }
        run("sync", &["-f", path(&disk.at)]);
        disk
    }

    fn mount(&self) {
        run("mount", &["-o", "loop", path(&self.image), path(&self.at)]);
        // So that it goes from copies of this mount namespace, too, such as `ip netns exec` makes.
        run("mount", &["--make-shared", path(&self.at)]);
    }

    async fn unmount(&self) {
        run("umount", &[path(&self.at)]);
        // Mounted meanwhile, it would be the file system that was shut down.
        until("nobody has the disk", async || {
            run("losetup", &["-j", path(&self.image)]).is_empty()
        })
        .await;
    }

    fn cut(&self, flags: u32) {
        let dir = File::open(&self.at).unwrap();
        // SAFETY: an open file; the kernel reads one number, which outlives the call.
        let done = unsafe { libc::ioctl(dir.as_raw_fd(), EXT4_IOC_SHUTDOWN, &raw const flags) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The server may still be there where a test has failed.
        let _ = Command::new("umount")
            .args(["--lazy", path(&self.at)])
            .status();
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Returns what it has printed.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Ends the server if it has not ended by itself with one of its exit codes.
fn end(server: &mut Server) {
    if let Some(status) = server.process().exited() {
        let output = server.output();
        let last = output.lines().next_back().unwrap_or_default();
        let is_named = status.code().is_some_and(|code| ENDS.contains(&code));
        assert!(is_named && last.contains("ERROR"), "{status}: {last}");
    }
    server.kill9();
}

#[tokio::test]
async fn acknowledged_writes_survive_power_cuts() {
    let Some(cuts) = from_environment("POWER_CUTS") else {
        println!("skipped: POWER_CUTS is not set");
        return;
    };
    let mut server = Server::prepare(Kind::K8sDqlite, Options::default());
    let disk = Disk::mount_over(server.storage_dir(), server.path().join("disk"));
    let mut rounds = Rounds::new();
    server.launch();
    server.ready().await;
    while u64::from(rounds.done) < cuts {
        let running = rounds.load(&server).await;
        let flags = if rounds.random.random_bool(0.5) {
            LOG_FLUSH
        } else {
            NO_LOG_FLUSH
        };
        disk.cut(flags);
        // While it is gone the server runs on, and must not acknowledge what it cannot store.
        rounds.sleep_ms(START_MS).await;
        end(&mut server);
        rounds.join(running).await;
        disk.unmount().await;
        disk.mount();
        if rounds.random.random_bool(0.3) {
            server.launch();
            rounds.sleep_ms(START_MS).await;
            disk.cut(NO_LOG_FLUSH);
            server.kill9();
            disk.unmount().await;
            disk.mount();
        }
        server.restart().await;
        rounds.check(&server).await;
    }
    rounds.finish(&server, "power cuts").await;
    server.kill9();
}
