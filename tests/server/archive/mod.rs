//! `--archive` and `restore --from`: what is left when every machine is lost.

mod commands;
mod histories;
mod leaders;
mod model;
mod s3;
mod stops;
// The tests of the crate start the same one.
#[allow(dead_code)]
#[path = "../../../crates/archive/tests/place/server.rs"]
mod versitygw;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
};

use archive::{ChainError, DeltaName, End, Moment, Objects, RouteError};
use etcd_state::mvcc::Revision;
use object_store::local::LocalFileSystem;
use tempfile::TempDir;

use crate::harness::*;

/// A directory as the place of an archive.
pub struct Place {
    dir: TempDir,
}

impl Place {
    pub fn new() -> Self {
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        Self { dir }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn url(&self) -> String {
        format!("file://{}", self.dir.path().display())
    }

    /// The flags of a server that writes to it.
    pub fn options(&self) -> Options {
        Options::flags(&["--archive", &self.url(), "--archive-interval", "1s"])
    }

    pub fn objects(&self) -> Objects {
        let store = LocalFileSystem::new_with_prefix(self.dir.path()).unwrap();
        Objects::new(Arc::new(store))
    }

    /// Waits until the archive has a revision.
    pub async fn wait_for(&self, revision: i64) {
        let objects = self.objects();
        until("the archive has the revision", async || {
            let moment = Moment::Revision(Revision::new(revision));
            match objects.route(moment).await {
                Ok(_) => true,
                Err(RouteError::Chain(ChainError::TooNew { .. } | ChainError::Empty)) => false,
                Err(error) => panic!("{error}"),
            }
        })
        .await;
    }

    /// Reads the whole chain, whose every delta must continue the one before, and returns its end and the number of its deltas.
    pub async fn check(&self) -> (End, usize) {
        let objects = self.objects();
        let mut name = DeltaName::GENESIS;
        let (first, digest) = objects.delta(name).await.unwrap();
        let mut end = End::at(name, &first.header, digest).unwrap();
        let mut count = 1;
        while objects.has_delta(end.next).await.unwrap() {
            name = end.next;
            let (delta, digest) = objects.delta(name).await.unwrap();
            delta.check_changes().unwrap();
            end = end.follow_gapless(name, &delta.header, digest).unwrap();
            count += 1;
        }
        assert_eq!(objects.list().await.unwrap().deltas.len(), count);
        (end, count)
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn restore(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_k8s-dqlite"));
    command.arg("restore").args(arguments);
    command.output().unwrap()
}

/// A new node with the archived store at a moment, started, and what the restore printed.
pub async fn restored(url: &str, moment: &[&str]) -> (Server, String) {
    let mut server = Server::prepare(Kind::K8sDqlite, Options::default());
    let dir: PathBuf = server.storage_dir();
    let to = ["--from", url, "--force", "--storage-dir", path_text(&dir)];
    let output = restore(&[&to[..], moment].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    server.launch();
    server.ready().await;
    (server, text(&output.stdout))
}

pub fn path_text(path: &Path) -> &str {
    path.to_str().unwrap()
}
