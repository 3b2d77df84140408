//! The modes of the Go program, with its files.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;

/// The files as the Go program names them, up to the first gap.
fn files(dir: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let read = |index: usize, end: &str| std::fs::read(dir.join(format!("{index}.{end}")));
    (0..)
        .map_while(|index| Some((read(index, "key").ok()?, read(index, "data").unwrap())))
        .collect()
}

#[tokio::test]
async fn an_etcd_is_saved_from_the_last_key_on_and_restored_elsewhere() {
    for (source, target) in kinds().await {
        let api = source.api().await;
        fill(&api).await;
        let dir = source.path().join("db");
        let (url, db) = (source.client_url(), path_text(&dir));
        let flags = [
            "migrator",
            "--mode",
            "backup-etcd",
            "--endpoint",
            &url,
            "--db-dir",
            db,
        ];
        assert_eq!(printed(&flags), "saved: 306 entries\n");
        let saved = files(&dir);
        let mut expected: Vec<_> = entries(&api).await;
        expected.reverse();
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(key, value, _)| (key, value))
            .collect();
        assert_eq!(saved, expected);

        // A shorter one later leaves nothing of the longer.
        api.ask(delete_prefix("/registry/pods/1")).await;
        let flags = [
            "migrator",
            "--mode=backup",
            "--endpoint",
            &url,
            "--db-dir",
            db,
        ];
        printed(&flags);
        let found: Vec<_> = entries(&api).await;
        assert_eq!(files(&dir).len(), found.len());

        let url = target.client_url();
        let other = target.api().await;
        other.put("/registry/pods/3", "older").await;
        other.put("/own", "stays").await;
        for mode in ["restore-to-etcd", "restore-to-dqlite"] {
            let flags = [
                "migrator",
                "--mode",
                mode,
                "--endpoint",
                &url,
                "--db-dir",
                db,
            ];
            let restored = format!("restored: {} entries\n", found.len());
            assert_eq!(printed(&flags), restored);
            let of = |entries: Vec<(Vec<u8>, Vec<u8>, i64)>| -> BTreeMap<_, _> {
                entries
                    .into_iter()
                    .map(|(key, value, _)| (key, value))
                    .collect()
            };
            let mut now = of(entries(&other).await);
            assert_eq!(now.remove(&b"/own"[..]).unwrap(), b"stays");
            assert_eq!(now, of(found.clone()));
        }
    }
}

#[tokio::test]
async fn of_a_k8s_dqlite_the_keys_below_slash_are_saved_ascending() {
    let source = Server::start(Kind::K8sDqlite).await;
    let api = source.api().await;
    fill(&api).await;
    let dir = source.path().join("db");
    let (url, db) = (source.client_url(), path_text(&dir));
    let flags = [
        "migrator",
        "--mode=backup-dqlite",
        "--endpoint",
        &url,
        "--db-dir",
        db,
    ];
    assert_eq!(printed(&flags), "saved: 303 entries\n");
    let below = entries(&api)
        .await
        .into_iter()
        .filter(|(key, ..)| key[0] == b'/');
    let below: Vec<_> = below.map(|(key, value, _)| (key, value)).collect();
    assert_eq!(files(&dir), below);
}

#[tokio::test]
async fn a_page_of_large_values_and_one_of_small_ones_fit() {
    let source = Server::start(Kind::K8sDqlite).await;
    let api = source.api().await;
    for index in 0..40 {
        api.put(&format!("a/large/{index:03}"), &"v".repeat(400_000))
            .await;
    }
    for chunk in 0..40 {
        let small = (0..100).fold(txn(), |txn, index| {
            txn.then(put(format!("b/small/{chunk:03}/{index:03}"), ""))
        });
        api.ask(small).await;
    }
    let dir = source.path().join("db");
    let (url, db) = (source.client_url(), path_text(&dir));
    let flags = ["migrator", "--endpoint", &url, "--db-dir", db];
    assert_eq!(printed(&flags), "saved: 4040 entries\n");
    assert_eq!(files(&dir).len(), 4040);
}

#[tokio::test]
async fn an_entry_that_is_refused_does_not_stop_the_others_but_is_told() {
    let target = Server::start(Kind::K8sDqlite).await;
    let dir = target.path().join("db");
    std::fs::create_dir(&dir).unwrap();
    for (index, value) in ["1".to_owned(), "v".repeat(2_000_000), "3".to_owned()]
        .iter()
        .enumerate()
    {
        std::fs::write(dir.join(format!("{index}.key")), format!("/{index}")).unwrap();
        std::fs::write(dir.join(format!("{index}.data")), value).unwrap();
    }
    let (url, db) = (target.client_url(), path_text(&dir));
    let flags = [
        "migrator",
        "--mode=restore-etcd",
        "--endpoint",
        &url,
        "--db-dir",
        db,
    ];
    let (code, said) = refusal(&flags);
    assert!(
        code == 1 && said.contains("1 of 3 entries were not restored"),
        "{said}"
    );
    assert!(said.contains("request is too large"), "{said}");
    let found = entries(&target.api().await).await;
    assert_eq!(found.len(), 2);
}

#[test]
fn flags_that_do_not_go_together_are_refused() {
    for (flags, reason) in [
        (&["--mode=copy"][..], "needs --from and --to"),
        (
            &["--mode=copy", "--from=a:1", "--to=b:1", "--cacert=x"],
            "--from-cacert",
        ),
        (&["--from=a:1"], "are for --mode=copy"),
        (
            &["--mode=copy", "--from=./no such file", "--to=b:1"],
            "no such file",
        ),
        (&["--mode=other"], "other"),
    ] {
        let (code, said) = refusal(&[&["migrator"], flags].concat());
        assert!(code == 2 && said.contains(reason), "{said}");
    }
}
