//! `k8s-dqlite doctor`: what it finds of a node that runs, of one that does not, and what its bundle leaves out.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

use crate::backup::{path_text, text};
use crate::harness::*;
use crate::nodes::trio::Trio;

/// Its sections are named in findings.
const PAGE: &str = include_str!("../../docs/operations.md");

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_k8s-dqlite"));
    command.args(arguments).output().unwrap()
}

/// The document about the directory of a server, and the exit code. `flags` are those of the server.
fn doctor_with(flags: &[&str], server: &Server) -> (Value, i32) {
    let dir = server.storage_dir();
    let output = run(&[flags, &["doctor", path_text(&dir), "--json"]].concat());
    let document = serde_json::from_slice(&output.stdout);
    let document: Value = document.unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    for finding in document["findings"].as_array().unwrap() {
        if let Some(section) = finding["section"].as_str() {
            assert!(
                PAGE.contains(&format!("# {section}\n")),
                "{section} is no section"
            );
        }
    }
    (document, output.status.code().unwrap())
}

fn doctor(server: &Server) -> (Value, i32) {
    doctor_with(&["--listen", &server.client_url()], server)
}

/// The findings about a subject, as severity and text.
fn about(document: &Value, subject: &str) -> Vec<(String, String)> {
    let findings = document["findings"].as_array().unwrap();
    let chosen = findings.iter().filter(|it| it["subject"] == subject);
    let word = |it: &Value, name: &str| it[name].as_str().unwrap().to_owned();
    chosen
        .map(|it| (word(it, "severity"), word(it, "text")))
        .collect()
}

fn has(document: &Value, subject: &str, severity: &str, part: &str) -> bool {
    let found = about(document, subject);
    found
        .iter()
        .any(|(found, text)| found == severity && text.contains(part))
}

/// The content of all files, and when they were changed.
fn state(dir: &Path) -> BTreeMap<String, (Vec<u8>, std::time::SystemTime)> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    files
        .map(|entry| {
            let changed = entry.metadata().unwrap().modified().unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, (fs::read(entry.path()).unwrap(), changed))
        })
        .collect()
}

async fn stopped() -> Server {
    let mut server = Server::start(Kind::K8sDqlite).await;
    server
        .api()
        .await
        .put("/registry/pods/default/a", "1")
        .await;
    server.terminate().await;
    server
}

#[tokio::test]
async fn a_node_that_runs_and_one_that_stopped_have_no_problem_and_are_not_changed() {
    let mut server = Server::start(Kind::K8sDqlite).await;
    server.api().await.put("a", "1").await;
    let (online, code) = doctor(&server);
    assert_eq!(code, 0, "{online:#}");
    assert!(has(&online, "process", "ok", "in use by"), "{online:#}");
    assert!(has(&online, "cluster", "ok", ""), "{online:#}");
    assert!(
        has(&online, "quota", "ok", " of 2 GiB are in use"),
        "{online:#}"
    );
    server.terminate().await;
    let before = state(&server.storage_dir());
    let (offline, code) = doctor(&server);
    assert_eq!(code, 0, "{offline:#}");
    assert!(
        has(&offline, "log", "ok", "whole, up to entry "),
        "{offline:#}"
    );
    assert!(
        has(&offline, "addresses", "ok", "ports are free"),
        "{offline:#}"
    );
    assert!(before == state(&server.storage_dir()), "a file was changed");
    server.restart().await;
}

#[tokio::test]
async fn damage_is_told_as_a_start_tells_it() {
    let mut server = stopped().await;
    let dir = server.storage_dir();
    // The engine has written one of them, or both.
    for name in state(&dir)
        .keys()
        .filter(|name| name.starts_with("metadata"))
    {
        fs::remove_file(dir.join(name)).unwrap();
    }
    let (found, code) = doctor(&server);
    assert_eq!(code, 6, "{found:#}");
    assert!(
        has(
            &found,
            "log",
            "problem",
            "metadata1 and metadata2 are missing"
        ),
        "{found:#}"
    );
    server.launch();
    assert!(!server.is_ready().await);
    let said = &about(&found, "log")[0].1;
    assert!(
        server.output().contains(said.as_str()),
        "{said}\n{}",
        server.output()
    );
}

/// A start compares whole files with what the node has left.
#[tokio::test]
async fn a_log_that_is_shorter_than_the_high_water_mark_is_damage() {
    let server = stopped().await;
    let dir = server.storage_dir();
    let names = state(&dir).into_keys();
    let segments = names.filter(|name| name.starts_with("0000") || name.starts_with("open-"));
    for segment in segments {
        fs::remove_file(dir.join(segment)).unwrap();
    }
    let (found, code) = doctor(&server);
    assert_eq!(code, 6, "{found:#}");
    assert!(has(&found, "log", "problem", "is damaged"), "{found:#}");
}

#[tokio::test]
async fn all_files_are_read_even_if_one_is_wrong() {
    let server = stopped().await;
    let dir = server.storage_dir();
    fs::write(dir.join("tuning.yaml"), "snapshot: [").unwrap();
    fs::write(dir.join("failure-domain"), "rack").unwrap();
    fs::write(dir.join("update.yaml"), "Address: nowhere").unwrap();
    fs::write(dir.join("other.key"), "k").unwrap();
    fs::set_permissions(dir.join("other.key"), PermissionsExt::from_mode(0o644)).unwrap();
    let (found, code) = doctor(&server);
    assert_eq!(code, 3, "{found:#}");
    for file in ["/tuning.yaml", "/failure-domain", "/update.yaml"] {
        assert!(
            has(&found, "settings", "problem", file),
            "{file}: {found:#}"
        );
    }
    assert!(
        has(&found, "permissions", "warning", "other.key (mode 644)"),
        "{found:#}"
    );
    assert!(has(&found, "log", "ok", "whole"), "{found:#}");
}

#[tokio::test]
async fn a_port_that_is_taken_and_a_full_disk_have_their_codes() {
    let server = stopped().await;
    let taken = TcpListener::bind(("127.0.0.1", server.node_port())).unwrap();
    let (found, code) = doctor(&server);
    assert_eq!(code, 4, "{found:#}");
    assert!(
        has(
            &found,
            "addresses",
            "problem",
            &server.node_port().to_string()
        ),
        "{found:#}"
    );
    drop(taken);
    let most = u64::MAX.to_string();
    let flags = [
        "--listen",
        &server.client_url(),
        "--watch-storage-available-size-min-bytes",
        &most,
    ];
    let (found, code) = doctor_with(&flags, &server);
    assert_eq!(code, 8, "{found:#}");
    assert!(has(&found, "disk", "problem", " are free"), "{found:#}");
}

#[tokio::test]
async fn an_expired_pair_and_late_backups_are_told() {
    let options = Options::flags(&["--enable-tls=true"]);
    let mut server = Server::prepare(Kind::K8sDqlite, options);
    let dir = server.storage_dir();
    write_expired_node_pair(&dir);
    server.launch();
    server.ready().await;
    server.terminate().await;
    let backups = tempfile::tempdir().unwrap();
    let old = "k8s-dqlite-20200101T000000Z-r000000000007-0000000000000001.db.gz";
    fs::write(backups.path().join(old), "").unwrap();
    let flags = [
        "--listen",
        &server.client_url(),
        "--backup-dir",
        path_text(backups.path()),
    ];
    let (found, code) = doctor_with(&flags, &server);
    assert_eq!(code, 10, "{found:#}");
    assert!(
        has(
            &found,
            "certificates",
            "problem",
            "between the nodes has expired"
        ),
        "{found:#}"
    );
    assert!(
        has(&found, "backups", "warning", "the newest is "),
        "{found:#}"
    );
    let future = "k8s-dqlite-21200101T000000Z-r000000000007-0000000000000001.db.gz";
    fs::write(backups.path().join(future), "").unwrap();
    let (found, _) = doctor_with(&flags, &server);
    assert!(
        has(&found, "backups", "warning", "of a time to come"),
        "{found:#}"
    );
    fs::remove_file(dir.join("cluster.key")).unwrap();
    let (found, code) = doctor_with(&flags, &server);
    assert_eq!(code, 3, "{found:#}");
    assert!(
        has(&found, "certificates", "problem", "cluster.key is missing"),
        "{found:#}"
    );
}

#[tokio::test]
async fn a_lost_node_is_told_as_status_tells_it() {
    let mut trio = Trio::start().await;
    trio.wait_for_voters(3).await;
    let leader = trio.leader().await;
    let [lost, other] = trio.others(leader);
    trio.nodes[lost].kill9();
    let (found, code) = doctor(&trio.nodes[other]);
    assert_eq!(code, 10, "{found:#}");
    let status = crate::status::status(&trio.nodes[other], &["--json"]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    let told = status["problems"][0].as_str().unwrap();
    assert!(has(&found, "cluster", "problem", told), "{told}: {found:#}");
    // Of the node that does not run it tells how the others are.
    let (found, _) = doctor(&trio.nodes[lost]);
    assert!(has(&found, "log", "ok", "whole"), "{found:#}");
    assert!(has(&found, "cluster", "ok", ""), "{found:#}");
}

#[tokio::test]
async fn a_server_is_asked_by_its_endpoint() {
    let mut server = Server::start(Kind::K8sDqlite).await;
    let url = server.client_url();
    let at = ["doctor", "--json", "--endpoint", &url];
    let output = run(&at);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    server.terminate().await;
    let output = run(&at);
    assert_eq!(output.status.code(), Some(13), "{}", text(&output.stdout));
}

/// Returns the names and texts of the files in a bundle.
fn unpacked(path: &Path) -> BTreeMap<String, String> {
    let file = fs::File::open(path).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let mut texts = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut entry, &mut text).unwrap();
        texts.insert(name, text);
    }
    texts
}

#[tokio::test]
async fn a_bundle_has_what_a_report_needs_and_no_secret() {
    let flags = ["--enable-tls=true", "--warning-apply-duration=1ms"];
    let mut server = Server::prepare(Kind::K8sDqlite, Options::flags(&flags));
    let dir = server.storage_dir();
    write_expired_node_pair(&dir);
    server.launch();
    server.ready().await;
    let api = server.api().await;
    api.put("/registry/secrets/ns/planted-key", "planted-value")
        .await;
    api.put("planted plain \"response= key", "planted-value")
        .await;
    // It is there to be taken out.
    until("a slow request is in the log", async || {
        let value = "planted-value".repeat(10_000);
        api.put("/registry/secrets/ns/planted-key", &value).await;
        let output = server.output();
        output.contains("planted-key") && output.contains("apply request took too long")
    })
    .await;
    let work = tempfile::tempdir().unwrap();
    let log = work.path().join("log");
    let output = server.output();
    fs::write(&log, output).unwrap();
    fs::write(
        dir.join("tuning.yaml"),
        "# join-token\npassword: planted-password\n",
    )
    .unwrap();
    fs::write(dir.join("notes.txt"), "planted-note").unwrap();
    let bundle = work.path().join("bundle.tar.gz");
    let arguments = [
        "--listen",
        &server.client_url(),
        "doctor",
        path_text(&dir),
        "--user",
        "root:planted-password",
        "--bundle",
        path_text(&bundle),
        "--log",
        path_text(&log),
    ];
    let output = run(&arguments);
    assert!(bundle.exists(), "{}", text(&output.stderr));
    let mode = fs::metadata(&bundle).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let texts = unpacked(&bundle);
    let of = |name: &str| {
        let text = texts.get(&format!("k8s-dqlite/{name}"));
        text.unwrap_or_else(|| panic!("{name}: {:?}", texts.keys()))
    };
    assert!(
        of("log-0.txt").contains("apply request took too long"),
        "{}",
        of("log-0.txt")
    );
    assert!(
        of("metrics.txt").contains("\nk8s_dqlite_loaded 1\n"),
        "{}",
        of("metrics.txt")
    );
    assert!(of("status.json").contains("\"health\""));
    assert!(of("doctor.txt").contains("has expired"));
    assert!(of("settings/info.yaml").contains("Address: "));
    assert!(of("certificates/nodes.txt").contains("Not After"));
    assert!(of("directory.txt").contains("metadata1 mode "));
    let key = fs::read_to_string(dir.join("cluster.key")).unwrap();
    let all: String = texts.values().map(String::as_str).collect();
    assert!(!all.contains("planted-"), "{}", around(&all, "planted-"));
    for line in key.lines().filter(|line| !line.starts_with("-----")) {
        assert!(!all.contains(line), "the private key is in it");
    }
    // A second one does not take its place.
    assert_eq!(run(&arguments).status.code(), Some(12));
}

/// The line with a text that should not be there.
fn around<'a>(all: &'a str, text: &str) -> &'a str {
    all.lines()
        .find(|line| line.contains(text))
        .unwrap_or_default()
}
