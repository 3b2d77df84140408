//! Archives that a store must not continue.

use std::process::Command;

use super::{Place, path_text, restore, restored, text};
use crate::harness::*;

async fn says(server: &Server, text: &str) {
    until(
        "the server says why it does not write the archive",
        async || server.output().contains(text),
    )
    .await;
}

#[tokio::test]
async fn the_archive_of_another_cluster_is_refused() {
    let place = Place::new();
    let mut first = Server::start_with(Kind::K8sDqlite, place.options()).await;
    let revision = first.api().await.put("a", "1").await;
    place.wait_for(revision).await;
    first.terminate().await;
    let before = place.check().await;
    let other = Server::start_with(Kind::K8sDqlite, place.options()).await;
    let api = other.api().await;
    for _ in 0..5 {
        api.put("b", "2").await;
    }
    says(&other, "it is the archive of cluster").await;
    assert_eq!(place.check().await, before);
}

#[tokio::test]
async fn a_store_that_was_put_back_does_not_continue_it() {
    let place = Place::new();
    let mut server = Server::start_with(Kind::K8sDqlite, place.options()).await;
    // So that what follows is in deltas, which can be compared.
    place.wait_for(1).await;
    let revision = server.api().await.put("a", "1").await;
    place.wait_for(revision).await;
    server.terminate().await;
    let (dir, copy) = (server.storage_dir(), server.path().join("copy"));
    let copied = |from: &std::path::Path, to: &std::path::Path| {
        let mut command = Command::new("cp");
        let status = command
            .args(["-a", path_text(from), path_text(to)])
            .status();
        assert!(status.unwrap().success());
    };
    copied(&dir, &copy);
    server.restart().await;
    let api = server.api().await;
    for value in ["2", "3", "4"] {
        api.put("a", value).await;
    }
    place.wait_for(revision + 3).await;
    server.kill9();
    let before = place.check().await;
    std::fs::remove_dir_all(&dir).unwrap();
    copied(&copy, &dir);
    server.restart().await;
    says(&server, "the store was put back to an earlier state").await;
    // It goes beyond the archive's end, with other changes.
    let api = server.api().await;
    for value in ["5", "6", "7", "8", "9"] {
        api.put("a", value).await;
    }
    says(&server, "and went on from there").await;
    assert_eq!(place.check().await, before);
}

/// A server whose archive lacks revisions, and goes on with a second base behind them.
pub struct Gapped {
    pub server: Server,
    /// The last revision before the gap, and the first one behind it.
    pub before: i64,
    pub after: i64,
    /// The last revision of all.
    pub last: i64,
}

impl Gapped {
    pub async fn make(place: &Place) -> Self {
        let mut server = Server::prepare(Kind::K8sDqlite, Options::default());
        let flags = place.options().flags;
        let archiving = |command: &mut Command, _: &std::path::Path| {
            command.args(&flags);
        };
        server.launch_with(archiving);
        server.ready().await;
        let before = server.api().await.put("a", "1").await;
        place.wait_for(before).await;
        server.terminate().await;
        server.restart().await;
        let api = server.api().await;
        for value in ["2", "3", "4"] {
            api.put("a", value).await;
        }
        let after = api.put("b", "1").await;
        api.ask(compact(after - 1)).await;
        server.terminate().await;
        server.launch_with(archiving);
        server.ready().await;
        place.wait_for(after).await;
        let last = server.api().await.put("c", "1").await;
        place.wait_for(last).await;
        Self {
            server,
            before,
            after,
            last,
        }
    }
}

#[tokio::test]
async fn a_store_of_which_only_a_base_was_archived_goes_on() {
    let place = Place::new();
    let mut server = Server::prepare(Kind::K8sDqlite, Options::default());
    server.launch();
    server.ready().await;
    let first = server.api().await.put("a", "1").await;
    server.terminate().await;
    let flags = place.options().flags;
    let archiving = |command: &mut Command, _: &std::path::Path| {
        command.args(&flags);
    };
    for _ in 0..2 {
        server.launch_with(archiving);
        server.ready().await;
        place.wait_for(first).await;
        server.kill9();
    }
    server.launch_with(archiving);
    server.ready().await;
    let last = server.api().await.put("a", "2").await;
    place.wait_for(last).await;
    let output = server.output();
    assert!(!output.contains("the store was put back"), "{output}");
    let all = || get_range(vec![0], vec![0]);
    let kvs = server.api().await.ask(all()).await.kvs;
    for revision in [first, last] {
        let (copy, _) = restored(&place.url(), &["--revision", &revision.to_string()]).await;
        let found = copy.api().await.ask(all()).await.kvs;
        assert_eq!(found == kvs, revision == last);
    }
}

#[tokio::test]
async fn what_was_compacted_meanwhile_is_a_gap_by_name() {
    let place = Place::new();
    let gapped = Gapped::make(&place).await;
    let server = &gapped.server;
    assert!(server.output().contains("the archive lacks revisions"));
    let (copy, _) = restored(&place.url(), &["--revision", &gapped.last.to_string()]).await;
    let all = || get_range(vec![0], vec![0]);
    let kvs = server.api().await.ask(all()).await.kvs;
    assert_eq!(copy.api().await.ask(all()).await.kvs, kvs);
    let in_the_gap = (gapped.before + 1).to_string();
    let arguments = [
        "--from",
        &place.url(),
        "--dry-run",
        "--revision",
        &in_the_gap,
    ];
    let refused = restore(&arguments);
    let said = text(&refused.stderr);
    let expected = format!(
        "revisions {in_the_gap} to {} are not in the archive",
        gapped.after - 1
    );
    assert!(said.contains(&expected), "{said}");
    assert_eq!(refused.status.code(), Some(6));
}
