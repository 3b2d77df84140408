//! `--mode copy`.

use std::path::PathBuf;
use std::process::Command;

use super::*;

struct Copy {
    from: String,
    to: String,
    db_dir: PathBuf,
}

impl Copy {
    fn new(from: &str, target: &Server) -> Self {
        Self {
            from: from.to_owned(),
            to: target.client_url(),
            db_dir: target.path().join("copy"),
        }
    }

    fn flags(&self) -> [&str; 8] {
        [
            "migrator",
            "--mode=copy",
            "--from",
            &self.from,
            "--to",
            &self.to,
            "--db-dir",
            path_text(&self.db_dir),
        ]
    }

    fn run(&self, more: &[&str]) -> String {
        printed(&[&self.flags()[..], more].concat())
    }
}

#[tokio::test]
async fn the_target_has_the_same_keys_values_and_leases() {
    for (source, target) in kinds().await {
        let (from, to) = (source.api().await, target.api().await);
        fill(&from).await;
        let copy = Copy::new(&source.client_url(), &target);
        let said = copy.run(&[]);
        let expected = "306 written, 0 there already, 3 leases";
        assert!(said.contains(expected), "{said}");
        assert!(said.contains("the same on both sides: 306 keys"), "{said}");
        assert_same_entries(&from, &to).await;
        // What it remembered is gone, so the target is not empty now.
        let (code, said) = refusal(&copy.flags());
        assert!(code == 12 && said.contains("holds 306 keys"), "{said}");
        // What has changed meanwhile is brought up to date.
        from.put("/registry/pods/9", "newer").await;
        from.delete("/registry/pods/10").await;
        to.put("/registry/pods/10x", "not in the source").await;
        let said = copy.run(&["--force"]);
        assert!(said.contains("3 written, 304 there already"), "{said}");
        assert_same_entries(&from, &to).await;
    }
}

#[tokio::test]
async fn from_etcd_to_us_and_back_it_is_the_same() {
    let Some(etcd) = etcd_or_skip(Options::default()).await else {
        return;
    };
    let ours = Server::start(Kind::K8sDqlite).await;
    let back = etcd_or_skip(Options::default()).await.unwrap();
    fill(&etcd.api().await).await;
    Copy::new(&etcd.client_url(), &ours).run(&[]);
    Copy::new(&ours.client_url(), &back).run(&[]);
    assert_same_entries(&etcd.api().await, &back.api().await).await;
}

#[tokio::test]
async fn a_file_of_a_snapshot_or_backup_is_a_source() {
    let mut sources = vec![Server::start(Kind::K8sDqlite).await];
    sources.extend(etcd_or_skip(Options::default()).await);
    for source in sources {
        let api = source.api().await;
        fill(&api).await;
        let file = source.path().join("backup.db.gz");
        printed(&[
            "backup",
            path_text(&file),
            "--endpoint",
            &source.client_url(),
        ]);
        let unpacked = Command::new("gunzip")
            .arg("-k")
            .arg(&file)
            .status()
            .unwrap();
        assert!(unpacked.success());
        for name in ["backup.db.gz", "backup.db"] {
            let target = Server::start(Kind::K8sDqlite).await;
            let file = source.path().join(name);
            let copy = Copy::new(path_text(&file), &target);
            let said = copy.run(&[]);
            assert!(said.contains("306 written"), "{said}");
            assert_same_entries(&api, &target.api().await).await;
        }
        // Of a damaged one nothing is taken.
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        let target = Server::start(Kind::K8sDqlite).await;
        let copy = Copy::new(path_text(&file), &target);
        let (code, said) = refusal(&copy.flags());
        assert!(code == 6 && said.contains("is damaged"), "{said}");
        assert_eq!(entries(&target.api().await).await, []);
    }
}

#[tokio::test]
async fn one_that_is_killed_is_finished_by_the_same_command() {
    let source = Server::start(Kind::K8sDqlite).await;
    let target = Server::start(Kind::K8sDqlite).await;
    let (from, to) = (source.api().await, target.api().await);
    fill(&from).await;
    let value = "v".repeat(2_000);
    for chunk in 0..60 {
        let keys = (0..100).fold(txn(), |txn, index| {
            txn.then(put(format!("/many/{chunk:03}/{index:03}"), value.clone()))
        });
        from.ask(keys).await;
    }
    let copy = Copy::new(&source.client_url(), &target);
    for kill_at in [1, 1500, 4000] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_k8s-dqlite"));
        command.args(copy.flags());
        let mut process = Process::spawn(command, &target.path().join("copy.log"));
        until("it has begun", async || {
            let mut count = get_range("\0", "\0");
            count.count_only = true;
            to.ask(count).await.count >= kill_at || process.exited().is_some()
        })
        .await;
        process.kill();
    }
    // While it is not finished, another copy does not mix with it.
    let other = Server::start(Kind::K8sDqlite).await;
    let is_unfinished = copy.db_dir.join("copy.json").exists();
    let mixed = Copy {
        from: other.client_url(),
        ..Copy::new("", &target)
    };
    assert_eq!(refusal(&mixed.flags()).0, 12);
    let said = match is_unfinished {
        true => copy.run(&[]),
        false => copy.run(&["--force"]),
    };
    assert!(said.contains("the same on both sides: 6306 keys"), "{said}");
    assert_same_entries(&from, &to).await;
}

#[tokio::test]
async fn a_source_that_is_written_and_compacted_is_copied_as_it_was_at_one_revision() {
    let source = Server::start(Kind::K8sDqlite).await;
    let target = Server::start(Kind::K8sDqlite).await;
    let (from, to) = (source.api().await, target.api().await);
    let value = "v".repeat(3_000);
    for chunk in 0..30 {
        let keys = (0..100).fold(txn(), |txn, index| {
            txn.then(put(format!("/many/{chunk:03}/{index:03}"), value.clone()))
        });
        from.ask(keys).await;
    }
    from.ask(txn().then(put("/a", "")).then(put("/z", "")))
        .await;
    let writing = tokio::spawn({
        let from = from.clone();
        async move {
            for round in 0.. {
                let both = txn()
                    .then(put("/a", round.to_string()))
                    .then(put("/z", round.to_string()));
                from.ask(both).await;
                if round % 500 == 250 {
                    let revision = from.revision().await - 100;
                    from.ask(compact(revision)).await;
                }
            }
        }
    });
    let copy = Copy::new(&source.client_url(), &target);
    let said = tokio::task::spawn_blocking(move || copy.run(&[]))
        .await
        .unwrap();
    writing.abort();
    assert!(said.contains("the same on both sides: 3002 keys"), "{said}");
    let value = |kvs: Vec<KeyValue>| kvs[0].value.clone();
    let first = value(to.ask(get("/a")).await.kvs);
    assert_eq!(first, value(to.ask(get("/z")).await.kvs));
}

#[tokio::test]
async fn a_lease_that_ends_meanwhile_takes_its_keys_along_and_is_no_difference() {
    let source = Server::start(Kind::K8sDqlite).await;
    let target = Server::start(Kind::K8sDqlite).await;
    let (from, to) = (source.api().await, target.api().await);
    for id in 1..=40 {
        let ttl = if id % 2 == 0 { 1000 } else { 1 };
        from.ask(LeaseGrantRequest { id, ttl }).await;
        let mut leased = put(format!("/{id}"), "1");
        leased.lease = id;
        from.ask(leased).await;
    }
    let said = Copy::new(&source.client_url(), &target).run(&[]);
    assert!(said.contains("the same on both sides"), "{said}");
    until("the short ones are gone", async || {
        entries(&to).await.len() == 20
    })
    .await;
}

#[tokio::test]
async fn a_store_is_not_copied_to_itself() {
    let server = Server::start(Kind::K8sDqlite).await;
    server.api().await.put("a", "1").await;
    let copy = Copy::new(&server.client_url(), &server);
    let (code, said) = refusal(&[&copy.flags()[..], &["--force"]].concat());
    assert!(
        code == 12 && said.contains("both have the cluster id"),
        "{said}"
    );
}

#[tokio::test]
async fn both_ends_may_be_with_tls() {
    let pki = Pki::new();
    let options = || Options {
        flags: pki.mutual_flags(),
        tls: Some(pki.client(Some(pki.pair("root")))),
    };
    let source = Server::start_with(Kind::K8sDqlite, options()).await;
    let target = Server::start_with(Kind::K8sDqlite, options()).await;
    fill(&source.api().await).await;
    let pair = pki.pair("root");
    let (ca, cert, key) = (pki.authority(), pair.certificate, pair.key);
    let copy = Copy::new(&source.client_url(), &target);
    let mut flags: Vec<String> = Vec::new();
    for end in ["from", "to"] {
        flags.push(format!("--{end}-cacert={}", path_text(&ca)));
        flags.push(format!("--{end}-cert={}", path_text(&cert)));
        flags.push(format!("--{end}-key={}", path_text(&key)));
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let said = copy.run(&flags);
    assert!(said.contains("the same on both sides: 306 keys"), "{said}");
    // Without the authority nobody is believed, without a certificate nobody is let in.
    let file = source.path().join("backup.db.gz");
    let to = [
        "backup",
        path_text(&file),
        "--endpoint",
        &source.client_url(),
    ];
    let (code, said) = refusal(&to);
    assert!(
        code == 13 && said.contains("certificate verify failed"),
        "{said}"
    );
    let ca_flag = format!("--cacert={}", path_text(&ca));
    let (code, said) = refusal(&[&to[..], &[&ca_flag]].concat());
    assert!([12, 13].contains(&code), "{code}: {said}");
    let pair = [
        format!("--cert={}", path_text(&cert)),
        format!("--key={}", path_text(&key)),
    ];
    printed(&[&to[..], &[&ca_flag, &pair[0], &pair[1]]].concat());
}

#[tokio::test]
async fn a_target_that_refuses_in_the_middle_is_a_failure() {
    let source = Server::start(Kind::K8sDqlite).await;
    let api = source.api().await;
    for index in 0..100 {
        api.put(&format!("/{index:02}"), "1").await;
    }
    api.put("/large", &"v".repeat(400_000)).await;
    let options = Options::flags(&["--max-request-bytes=200000"]);
    let target = Server::start_with(Kind::K8sDqlite, options).await;
    let db = target.path().join("copy");
    let flags = ["migrator", "--mode=copy", "--db-dir", path_text(&db)];
    let ends = ["--from", &source.client_url(), "--to", &target.client_url()];
    let (code, said) = refusal(&[&flags[..], &ends].concat());
    assert!(
        code == 1 && said.contains("too large") && said.contains("the same command"),
        "{code} {said}"
    );
}
