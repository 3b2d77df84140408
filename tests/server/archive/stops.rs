//! A directory that is thrown away right after a stop.

use super::{Place, restored};
use crate::harness::*;

#[tokio::test]
async fn a_clean_stop_leaves_nothing_behind() {
    let place = Place::new();
    let url = place.url();
    let flags = ["--archive", &url, "--archive-interval", "1h"];
    let mut server = Server::start_with(Kind::K8sDqlite, Options::flags(&flags)).await;
    let mut last = 0;
    for round in 0..3 {
        let api = server.api().await;
        for i in 0..20 {
            last = api
                .put(&format!("key/{i}"), &format!("round {round}"))
                .await;
        }
        assert!(server.terminate().await.success());
        let (end, _) = place.check().await;
        assert_eq!(end.last.number(), last);
        server.restart().await;
    }
    let (copy, _) = restored(&url, &[]).await;
    let all = || get_range(vec![0], vec![0]);
    let found = copy.api().await.ask(all()).await.kvs;
    assert_eq!(found, server.api().await.ask(all()).await.kvs);
    assert_eq!(copy.api().await.revision().await, last);
}

#[tokio::test]
async fn a_directory_that_is_missing_is_said_and_written_once_it_is_there() {
    let place = Place::new();
    let missing = place.path().join("mounted later");
    let url = format!("file://{}", missing.display());
    let flags = ["--archive", &url, "--archive-interval", "1s"];
    let server = Server::start_with(Kind::K8sDqlite, Options::flags(&flags)).await;
    let revision = server.api().await.put("a", "1").await;
    until("the server says what is missing", async || {
        server.output().contains("has to be made first")
    })
    .await;
    std::fs::create_dir(&missing).unwrap();
    let at = revision.to_string();
    until("the archive has the revision", async || {
        let arguments = ["--from", &url, "--dry-run", "--revision", &at];
        super::restore(&arguments).status.success()
    })
    .await;
}
