//! `k8s-dqlite certs`: the pair of the nodes is replaced while they run.

use std::{
    fs,
    path::Path,
    process::Output,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use dqlite::{
    client::{ConnectOptions, Connection},
    cluster::resolver,
    tls::{PemPair, Rotation, RotationStep, Tls, TlsVersion},
};
use k8s_dqlite::cluster::peer::{Dialer, NotMade};
use peer_proto::{CertificateStep, CertificatesRequest};
use tokio::task::{JoinHandle, spawn_blocking};

use super::trio::Trio;
use crate::{
    harness::*,
    status::run,
    wrong_input::{certificates::make_pair, refuses_to_start},
};

/// The exit codes for a bad file, a refusal, and a node that does not answer.
const CONFIG: i32 = 3;
const REFUSED: i32 = 12;
const UNREACHABLE: i32 = 13;

const STATE: &str = "cluster-rotation.yaml";

async fn trio() -> Trio {
    Trio::start_with(&Options::flags(&["--enable-tls=true"])).await
}

/// Runs `certs` while the tasks of the test go on.
async fn certs(node: &Server, arguments: &[&str]) -> Output {
    let arguments: Vec<String> = ["certs"]
        .iter()
        .chain(arguments)
        .map(ToString::to_string)
        .collect();
    let dir = node.storage_dir();
    let running = spawn_blocking(move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        run(&arguments, &dir)
    });
    running.await.unwrap()
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(&[&out[..], &err[..]].concat()).into_owned()
}

async fn rotates(node: &Server) -> String {
    let output = certs(node, &["rotate"]).await;
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("All 3 nodes use the new pair"), "{said}");
    said
}

fn pair(node: &Server) -> PemPair {
    PemPair::read(&node.storage_dir()).unwrap()
}

/// Returns whether a node lets this pair in.
async fn lets_in(node: &Server, pair: &PemPair) -> bool {
    let opened = pair.open("the pair of the test").unwrap();
    let tls = Tls::of_pair(&opened, TlsVersion::Tls12).unwrap();
    let address = format!("127.0.0.1:{}", node.node_port());
    let endpoint = resolver(Some(tls))(&address);
    let connected = Connection::connect(&endpoint, ConnectOptions::default()).await;
    let Ok(mut connection) = connected else {
        return false;
    };
    // With TLS 1.3 a client hears of its refusal only afterwards.
    connection.leader().await.is_ok()
}

/// Rotations until two had no failed put.
const ROTATIONS_MAX: usize = 6;

/// The puts that failed.
type Failed = Arc<Mutex<Vec<String>>>;

/// A client that writes to one node until it is told to stop, and counts.
fn write(
    node: &Server,
    name: &'static str,
    stop: Arc<AtomicBool>,
    failed: Failed,
) -> JoinHandle<u64> {
    let url = node.client_url();
    tokio::spawn(async move {
        let api = Api::connect(&url).await;
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            match api.try_ask(put(name, format!("{count}"))).await {
                Ok(_) => count += 1,
                Err(error) => {
                    let text = format!("put {count} of {name} failed: {error}");
                    failed.lock().unwrap().push(text);
                }
            }
        }
        count
    })
}

async fn is_one_pair(trio: &Trio, former: &PemPair) {
    let new = pair(&trio.nodes[0]);
    assert_ne!(new, *former);
    for node in &trio.nodes {
        assert_eq!(pair(node), new);
        assert!(!node.storage_dir().join(STATE).exists());
        assert!(lets_in(node, &new).await);
        assert!(!lets_in(node, former).await);
    }
    assert_eq!(new.certificate.matches("BEGIN CERTIFICATE").count(), 1);
}

#[tokio::test]
async fn a_pair_is_replaced_without_a_failed_write() {
    let mut trio = trio().await;
    let former = pair(&trio.nodes[0]);
    let mode = |node: &Server| {
        let metadata = fs::metadata(node.storage_dir().join("cluster.key")).unwrap();
        std::os::unix::fs::MetadataExt::mode(&metadata)
    };
    let former_mode = mode(&trio.nodes[1]);
    // It came in with the former pair, and has to go with it.
    let opened = former.open("the pair of the test").unwrap();
    let tls = Tls::of_pair(&opened, TlsVersion::Tls12).unwrap();
    let address = format!("127.0.0.1:{}", trio.nodes[1].node_port());
    let endpoint = resolver(Some(tls))(&address);
    let mut stays = Connection::connect(&endpoint, ConnectOptions::default())
        .await
        .unwrap();
    assert!(stays.leader().await.unwrap().is_some());
    let stop = Arc::new(AtomicBool::new(false));
    let failed = Failed::default();
    let writers = ["a", "b", "c"];
    let writers = trio.nodes.iter().zip(writers);
    let writers: Vec<_> = writers
        .map(|(node, name)| write(node, name, stop.clone(), failed.clone()))
        .collect();
    // Twice, so that the second begins from what the first has left; again where a busy machine has made the nodes elect, which
    // no step of a rotation does.
    let mut clean = 0;
    for _ in 0..ROTATIONS_MAX {
        let said = rotates(&trio.nodes[1]).await;
        assert!(said.contains("3 of 3"), "{said}");
        let failed = std::mem::take(&mut *failed.lock().unwrap());
        clean += usize::from(failed.is_empty());
        if !failed.is_empty() {
            eprintln!("{failed:?}");
        }
        if clean == 2 {
            break;
        }
    }
    assert_eq!(clean, 2, "rotations without a failed put");
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        assert!(writer.await.unwrap() > 0);
    }
    assert!(stays.leader().await.is_err(), "it is closed");
    is_one_pair(&trio, &former).await;
    assert_eq!(mode(&trio.nodes[1]), former_mode);
    for node in &mut trio.nodes {
        assert!(!node.output().contains("PRIVATE KEY"));
        node.kill9();
    }
    for node in &mut trio.nodes {
        node.launch();
    }
    for node in &mut trio.nodes {
        node.ready().await;
    }
    trio.wait_for_voters(3).await;
    trio.nodes[2].api().await.put("after", "1").await;
    let shown = text(&certs(&trio.nodes[2], &[]).await);
    assert_eq!(shown.matches("shows one pair").count(), 3, "{shown}");
    assert_eq!(shown.matches("in 3649 days").count(), 4, "{shown}");
}

/// Has one node make a step, as the command does.
async fn step(
    node: &Server,
    step: CertificateStep,
    (former, new): (&PemPair, &PemPair),
) -> Result<(), NotMade> {
    let print = |pair: &PemPair| pair.open("a pair of the test").unwrap().fingerprint();
    let mut request = CertificatesRequest {
        new: print(new).to_bytes(),
        former: print(former).to_bytes(),
        certificate: new.certificate.clone(),
        key: new.key.clone(),
        ..CertificatesRequest::default()
    };
    request.set_step(step);
    let mut last = None;
    for way in [former.trusting(new), new.trusting(former)] {
        let tls = Tls::of_pair(
            &way.open("the pair of the test").unwrap(),
            TlsVersion::Tls13,
        );
        let dialer = Dialer::new(resolver(Some(tls.unwrap())));
        let address = format!("127.0.0.1:{}", node.node_port());
        match dialer.certificates(&address, request.clone()).await {
            Err(error @ NotMade::Unreachable(_)) => last = Some(error),
            made => return made.map(drop),
        }
    }
    Err(last.unwrap())
}

/// The first node has made a step, the others not yet.
#[tokio::test]
async fn a_rotation_goes_on_after_a_node_was_killed_at_any_step() {
    use CertificateStep::{Drop, Trust, Use};
    for (last, said, killed) in [
        (Trust, "1 of 3", 0),
        (Trust, "1 of 3", 2),
        (Use, "2 of 3", 0),
        (Use, "2 of 3", 1),
        (Drop, "3 of 3", 0),
        (Drop, "3 of 3", 2),
    ] {
        let mut trio = trio().await;
        let former = pair(&trio.nodes[0]);
        let made = trio.nodes[0].path().join("new");
        make_pair(&made);
        let new = PemPair::read(&made).unwrap();
        let both = (&former, &new);
        let steps = [Trust, Use, Drop];
        for step_now in steps.into_iter().take_while(|it| *it != last) {
            for node in &trio.nodes {
                step(node, step_now, both).await.unwrap();
            }
        }
        step(&trio.nodes[0], last, both).await.unwrap();
        let dir = trio.nodes[killed].storage_dir();
        let before = PemPair::read(&dir).unwrap();
        trio.nodes[killed].kill9();
        // Any node that has the new pair can go on, when all run.
        let runs = if killed == 0 { 1 } else { 0 };
        let output = certs(&trio.nodes[runs], &["rotate"]).await;
        let refused = text(&output);
        let address = format!("127.0.0.1:{}", trio.nodes[killed].node_port());
        assert_eq!(output.status.code(), Some(UNREACHABLE), "{refused}");
        assert!(refused.contains(&address), "{refused}");
        trio.nodes[runs].api().await.put("without", "1").await;
        if let Some(rotation) = Rotation::read(&dir).unwrap() {
            // As if it had been killed a moment earlier: the files do not follow the state yet.
            match rotation.step {
                RotationStep::Trust => rotation.former.write(&dir).unwrap(),
                RotationStep::Use => {
                    let key = dir.join("cluster.key");
                    fs::write(key, &rotation.former.key).unwrap();
                }
            }
        }
        trio.nodes[killed].restart().await;
        assert_eq!(
            PemPair::read(&dir).unwrap(),
            before,
            "the files are as they were"
        );
        trio.wait_for_voters_at(killed, 3).await;
        let done = rotates(&trio.nodes[0]).await;
        assert!(done.starts_with(said), "{done}");
        is_one_pair(&trio, &former).await;
        assert_eq!(pair(&trio.nodes[2]).key, new.key);
        trio.nodes[killed].api().await.put("with", "1").await;
    }
}

/// It has another name, which is not asked for while both are trusted.
#[tokio::test]
async fn a_pair_of_ones_own_is_checked_before_any_node_has_it() {
    let trio = trio().await;
    let former = pair(&trio.nodes[0]);
    let dir = trio.nodes[0].path().join("own");
    fs::create_dir(&dir).unwrap();
    let (cert, key) = (dir.join("crt"), dir.join("key"));
    let make = |names: &str, days: &str| {
        let made = std::process::Command::new("openssl")
            .args([
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=own",
            ])
            .args(["-days", days, "-addext", &format!("subjectAltName={names}")])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&cert)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
    };
    let flags = [
        "rotate",
        "--cert",
        cert.to_str().unwrap(),
        "--key",
        key.to_str().unwrap(),
    ];
    make("IP:10.1.2.3", "100");
    let output = certs(&trio.nodes[0], &flags).await;
    assert_eq!(output.status.code(), Some(REFUSED));
    assert!(text(&output).contains("127.0.0.1"), "{}", text(&output));
    for node in &trio.nodes {
        assert_eq!(pair(node), former);
        assert!(!node.storage_dir().join(STATE).exists());
    }
    make("DNS:own.example", "100");
    let output = certs(&trio.nodes[0], &flags).await;
    assert!(output.status.success(), "{}", text(&output));
    is_one_pair(&trio, &former).await;
    assert_eq!(pair(&trio.nodes[1]).key, fs::read_to_string(&key).unwrap());
    let output = certs(&trio.nodes[0], &flags).await;
    assert_eq!(output.status.code(), Some(REFUSED));
    assert!(text(&output).contains("already"), "{}", text(&output));
    trio.nodes[2].api().await.put("key", "1").await;
}

#[tokio::test]
async fn steps_out_of_order_are_refused_and_the_first_can_be_taken_back() {
    use CertificateStep::{Drop, Trust, Use};
    let mut trio = trio().await;
    let former = pair(&trio.nodes[0]);
    let made = trio.nodes[0].path().join("new");
    make_pair(&made);
    let new = PemPair::read(&made).unwrap();
    let (both, node) = ((&former, &new), &trio.nodes[0]);
    for wrong in [Use, Drop] {
        assert!(matches!(
            step(node, wrong, both).await,
            Err(NotMade::Refused(_))
        ));
    }
    // What stands beside a certificate counts: a node would not read it again.
    let large = PemPair {
        certificate: format!("{}\n{}", "a line of text\n".repeat(80_000), new.certificate),
        key: new.key.clone(),
    };
    let refused = step(node, Trust, (&former, &large)).await;
    assert!(
        matches!(&refused, Err(NotMade::Refused(reason)) if reason.contains("1 MiB")),
        "{refused:?}"
    );
    assert!(!node.storage_dir().join(STATE).exists());
    assert_eq!(pair(node), former);
    step(node, Trust, both).await.unwrap();
    step(node, Trust, both).await.unwrap();
    assert!(matches!(
        step(node, Drop, both).await,
        Err(NotMade::Refused(_))
    ));
    let other = trio.nodes[0].path().join("other");
    make_pair(&other);
    let other = PemPair::read(&other).unwrap();
    let refused = step(node, Trust, (&former, &other)).await;
    assert!(matches!(refused, Err(NotMade::Refused(_))), "{refused:?}");
    let shown = text(&certs(&trio.nodes[1], &["show"]).await);
    assert!(
        shown.contains("trusts the new pair, shows the former"),
        "{shown}"
    );
    // A node without the new pair cannot begin with the others.
    let output = certs(&trio.nodes[1], &["rotate"]).await;
    assert_eq!(output.status.code(), Some(REFUSED));
    let holder = format!("run the same command on 127.0.0.1:{}", node.node_port());
    assert!(text(&output).contains(&holder), "{}", text(&output));
    let output = certs(&trio.nodes[1], &["rotate", "--cancel"]).await;
    assert!(output.status.success(), "{}", text(&output));
    for node in &trio.nodes {
        assert_eq!(pair(node), former);
        assert!(!lets_in(node, &new).await);
    }
    step(&trio.nodes[0], Trust, both).await.unwrap();
    step(&trio.nodes[0], Use, both).await.unwrap();
    let output = certs(&trio.nodes[0], &["rotate", "--cancel"]).await;
    assert_eq!(output.status.code(), Some(REFUSED));
    // Somebody has put another key there.
    trio.nodes[0].kill9();
    let dir = trio.nodes[0].storage_dir();
    other.write(&dir).unwrap();
    let said = refuses_to_start(&mut trio.nodes[0], CONFIG).await;
    assert!(said.contains("delete this file"), "{said}");
    assert_eq!(read(&dir, "cluster.key"), other.key);
    // Somebody has put the new pair there, before the step that does.
    let node = &mut trio.nodes[1];
    step(node, Trust, both).await.unwrap();
    let dir = node.storage_dir();
    new.write(&dir).unwrap();
    let refused = step(node, Use, both).await;
    assert!(matches!(refused, Err(NotMade::Refused(_))), "{refused:?}");
    node.kill9();
    let said = refuses_to_start(node, CONFIG).await;
    assert!(said.contains("delete this file"), "{said}");
    assert_eq!(PemPair::read(&dir).unwrap(), new);
}

fn read(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).unwrap()
}

/// Returns what `status` says of the cluster, asked from the directory of this node.
async fn status(node: &Server) -> serde_json::Value {
    let dir = node.storage_dir();
    let asked = spawn_blocking(move || run(&["status", "--json"], &dir));
    serde_json::from_slice(&asked.await.unwrap().stdout).unwrap()
}

#[tokio::test]
async fn a_step_that_the_disk_of_a_node_refuses_can_be_taken_back() {
    use CertificateStep::{Trust, Use};
    let trio = trio().await;
    let former = pair(&trio.nodes[0]);
    let made = trio.nodes[0].path().join("new");
    make_pair(&made);
    let new = PemPair::read(&made).unwrap();
    let both = (&former, &new);
    for failing in [true, false] {
        for node in &trio.nodes {
            step(node, Trust, both).await.unwrap();
        }
        let told = status(&trio.nodes[0]).await;
        let warnings = told["warnings"].to_string();
        assert!(warnings.contains("is being replaced"), "{told}");
        assert!(
            told["remedy"].to_string().contains("certs rotate"),
            "{told}"
        );
        assert_eq!(told["nodes"][1]["certificate_step"], "trust", "{told}");
        let dir = trio.nodes[1].storage_dir();
        if failing {
            let certificate = dir.join("cluster.crt");
            let kept = dir.join("kept.crt");
            fs::rename(&certificate, &kept).unwrap();
            fs::create_dir(&certificate).unwrap();
            step(&trio.nodes[1], Use, both).await.unwrap_err();
            fs::remove_dir(&certificate).unwrap();
            fs::rename(&kept, &certificate).unwrap();
            let rotation = Rotation::read(&dir).unwrap().unwrap();
            assert_eq!(rotation.step, RotationStep::Trust);
        } else {
            // As if that could not be written either.
            let mut rotation = Rotation::read(&dir).unwrap().unwrap();
            rotation.step = RotationStep::Use;
            rotation.store(&dir).unwrap();
        }
        let output = certs(&trio.nodes[0], &["rotate", "--cancel"]).await;
        assert!(output.status.success(), "{}", text(&output));
        for node in &trio.nodes {
            assert_eq!(pair(node), former);
            assert!(!node.storage_dir().join(STATE).exists());
            assert!(!lets_in(node, &new).await);
        }
    }
    let told = status(&trio.nodes[0]).await;
    assert_eq!(told["warnings"], serde_json::json!([]), "{told}");
    // What counts is the pair in use, whatever the file has become.
    let ends = |told: &serde_json::Value| told["nodes"][1]["certificate_expires_s"].clone();
    new.write(&trio.nodes[1].storage_dir()).unwrap();
    assert_eq!(ends(&status(&trio.nodes[0]).await), ends(&told));
    let own = former.open("the pair of the test").unwrap();
    assert_eq!(ends(&told), own.expires_s().unwrap());
}
