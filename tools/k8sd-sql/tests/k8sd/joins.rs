//! Joins that fail, at every step: nothing is left behind, and the name can be used again.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

use hyper::Method;
use k8sd::{
    Error,
    api::{Admission, EXTENSIONS},
    certificate::{PemPair, fingerprint, generate},
    client::{Target, pinned},
    time::now_s,
    token::JoinToken,
};
use nix::sys::signal::{Signal, kill};
use openssl::{
    pkey::PKey,
    ssl::{SslAcceptor, SslMethod},
    x509::X509,
};
use serde_json::json;

use crate::{
    daemon::wait_for,
    node::{Node, Place},
};

const ASK_TIMEOUT: Duration = Duration::from_secs(20);

/// An answer has two certificates and two keys.
const MAX_TICKET_BYTES: usize = 2048;

const HOUR_S: i64 = 3600;

/// No server runs in these tests.
fn nodes<const N: usize>(names: [&'static str; N]) -> [Node; N] {
    Place::on_loopback(names).map(|place| Node::start(place, Path::new("")))
}

fn token(first: &Node, name: &str) -> String {
    first.good(&["token", "add", name]).trim().to_owned()
}

fn changed(token: &str, change: impl FnOnce(&mut JoinToken)) -> String {
    let mut token = JoinToken::decode(token).unwrap();
    change(&mut token);
    token.encode()
}

fn count(first: &Node, query: &str) -> String {
    first
        .good(&["sql", "--format", "go", query])
        .trim()
        .to_owned()
}

/// The node is outside, and the cluster knows nothing of it.
fn nothing_is_left(first: &Node, node: &Node) {
    let told = node.run(&["status"]).stderr;
    assert!(String::from_utf8_lossy(&told).contains("not yet initialized"));
    assert!(!node.data().exists());
    assert!(!node.state().join("datastore.yaml").exists());
    forgotten(first);
}

fn forgotten(first: &Node) {
    wait_for("the cluster to know one member", || {
        first.good(&["members"]).matches("node").count() == 1
    });
    assert_eq!(
        count(first, "select count(*) from core_cluster_members"),
        "[[1]]"
    );
    let kept = "select count(*) from cluster_configs where key like 'datastore::member::%'";
    assert_eq!(count(first, kept), "[[1]]");
    consistent(first);
}

/// But for the datastore, which does not run here.
fn consistent(first: &Node) {
    let found = first.run(&["cluster", "check"]).stdout;
    let found = String::from_utf8(found).unwrap();
    assert!(
        found.starts_with("the datastore's leader is not reachable"),
        "{found}"
    );
    assert_eq!(found.lines().count(), 1, "{found}");
}

fn ask_in(first: &Node, token: &str, pair: &PemPair) -> Result<Admission, Error> {
    let token = JoinToken::decode(token).unwrap();
    let target = Target::Pinned {
        address: first.place.k8sd.clone(),
        context: pinned(pair, &token.fingerprint).unwrap(),
    };
    let body = json!({
        "name": "node2", "address": "127.0.0.1:1", "certificate": pair.certificate,
        "schema_internal_version": 6, "extensions": EXTENSIONS, "secret": token.secret,
        "datastore_address": "127.0.0.1:2",
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(target.call(
        Method::POST,
        "/core/internal/cluster",
        Some(&body),
        ASK_TIMEOUT,
    ))
}

/// Starts a proxy between a node and the first one. It says when the request has passed, and holds the answer back.
fn holding_proxy(to: &str) -> (String, Receiver<()>, Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, to) = (listener.local_addr().unwrap().to_string(), to.to_owned());
    let (answered, heard) = channel();
    let (release, held) = channel::<()>();
    thread::spawn(move || {
        // One connection is all that a join makes here before it is answered.
        let (client, _) = listener.accept().unwrap();
        drop(listener);
        let server = TcpStream::connect(to).unwrap();
        let (mut from_client, mut to_server) =
            (client.try_clone().unwrap(), server.try_clone().unwrap());
        // What the client sends after its hello follows all of the server's handshake; so what the server
        // sends then is the answer, or the tickets of its session, which are short.
        let is_asked = Arc::new(AtomicBool::new(false));
        let asked = is_asked.clone();
        thread::spawn(move || {
            let mut bytes = vec![0; 1 << 16];
            let mut is_hello = true;
            while let Ok(length @ 1..) = from_client.read(&mut bytes) {
                asked.store(!is_hello, Ordering::SeqCst);
                is_hello = false;
                if to_server.write_all(&bytes[..length]).is_err() {
                    break;
                }
            }
        });
        let (mut server, mut client) = (server, client);
        let mut bytes = vec![0; 1 << 16];
        loop {
            let length = server.read(&mut bytes).unwrap_or(0);
            if length == 0 {
                break;
            }
            if is_asked.load(Ordering::SeqCst) && length > MAX_TICKET_BYTES {
                answered.send(()).unwrap();
                // Released, or dropped: then the answer is lost.
                if held.recv().is_err() {
                    break;
                }
            }
            if client.write_all(&bytes[..length]).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    });
    (address, heard, release)
}

fn joining(node: &Node, token: &str) -> std::process::Child {
    let join = Command::new(env!("CARGO_BIN_EXE_k8sd"))
        .args(node.join_args(token))
        .arg("--state-dir")
        .arg(node.state())
        .stderr(std::process::Stdio::null())
        .spawn();
    join.unwrap()
}

#[test]
fn a_refused_join_leaves_its_token_as_it_is() {
    let [first, node, strange] = nodes(["node1", "node2", "node3"]);
    first.bootstrap();
    let good = token(&first, "node2");
    let join = |node: &Node, token: &str| node.bad(&node.join_args(token));

    let told = join(&strange, &good);
    assert!(told.contains("No matching join token"), "the name: {told}");
    nothing_is_left(&first, &strange);

    let forged = changed(&good, |token| token.fingerprint = "ab".repeat(32));
    let told = join(&node, &forged);
    assert!(
        told.contains("not the one that the join token names"),
        "{told}"
    );
    nothing_is_left(&first, &node);

    let forged = changed(&good, |token| token.secret = "ab".repeat(32));
    let told = join(&node, &forged);
    assert!(told.contains("No matching join token"), "{told}");

    let now_s = now_s();
    let ahead = generate("node2", now_s + HOUR_S).unwrap();
    let told = ask_in(&first, &good, &ahead).err().unwrap().to_string();
    assert!(told.contains("do the clocks agree?"), "{told}");
    nothing_is_left(&first, &node);

    std::fs::create_dir(node.data()).unwrap();
    std::fs::write(node.data().join("notes"), "mine").unwrap();
    let told = join(&node, &good);
    assert!(told.contains("\"notes\" is not of a new node"), "{told}");
    std::fs::remove_file(node.data().join("notes")).unwrap();
    std::fs::remove_dir(node.data()).unwrap();
    nothing_is_left(&first, &node);

    let taken = Place {
        datastore: first.place.datastore.clone(),
        ..node.place.clone()
    };
    let told = node.bad(&node.join_args_at(&taken, &good));
    assert!(told.contains("datastore address exists already"), "{told}");
    nothing_is_left(&first, &node);

    // The clock was set since the node made its pair.
    let (certificate, key) = (
        node.state().join("server.crt"),
        node.state().join("server.key"),
    );
    std::fs::write(certificate, &ahead.certificate).unwrap();
    std::fs::write(key, &ahead.key).unwrap();
    node.join(&good);
    assert!(
        join(&strange, &good).contains("No matching"),
        "it is used up"
    );
}

/// A member whose certificate is this one, and which lets in whoever comes, and then finds nobody to remove.
fn strange_cluster(pair: PemPair) -> String {
    let mut acceptor = SslAcceptor::mozilla_modern_v5(SslMethod::tls_server()).unwrap();
    let certificate = X509::from_pem(pair.certificate.as_bytes()).unwrap();
    let key = PKey::private_key_from_pem(pair.key.as_bytes()).unwrap();
    acceptor.set_certificate(&certificate).unwrap();
    acceptor.set_private_key(&key).unwrap();
    let acceptor = acceptor.build();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let admission = json!({"type": "sync", "metadata": {
        "cluster_cert": pair.certificate, "cluster_key": pair.key, "cluster_members": [],
        "trusted_member": null,
    }});
    let gone = json!({"type": "error", "error_code": 404, "error": "no such member"});
    thread::spawn(move || {
        for answer in [admission, gone] {
            let mut stream = acceptor.accept(listener.accept().unwrap().0).unwrap();
            let mut request = vec![0; 1 << 16];
            let _ = stream.read(&mut request).unwrap();
            let (body, head) = (answer.to_string(), "HTTP/1.1 200 OK\r\nContent-Length:");
            write!(stream, "{head} {}\r\n\r\n{body}", body.len()).unwrap();
        }
    });
    address
}

#[test]
fn a_cluster_whose_certificate_is_not_valid_yet_is_not_joined() {
    let [node] = nodes(["node2"]);
    let pair = generate("node1", now_s() + HOUR_S).unwrap();
    let certificate = X509::from_pem(pair.certificate.as_bytes()).unwrap();
    let token = JoinToken {
        secret: "ab".repeat(32),
        fingerprint: fingerprint(&certificate).unwrap(),
        join_addresses: vec![strange_cluster(pair)],
    };
    let told = node.bad(&node.join_args(&token.encode()));
    assert!(told.contains("do the clocks agree?"), "{told}");
    assert!(!node.data().exists());
    assert!(!node.state().join("cluster.key").exists());
}

#[test]
fn a_join_that_fails_after_it_was_let_in_takes_itself_back() {
    let [first, node] = nodes(["node1", "node2"]);
    first.bootstrap();
    // Somebody has the port, so the cluster is not asked and the token stays good.
    let taken = TcpListener::bind(&node.place.k8sd).unwrap();
    let good = token(&first, "node2");
    let told = node.bad(&node.join_args(&good));
    assert!(told.contains("cannot listen"), "{told}");
    nothing_is_left(&first, &node);
    drop(taken);
    // The storage directory cannot be made: the last step but one.
    let held = node.data();
    std::os::unix::fs::symlink("nowhere/at/all", &held).unwrap();
    let told = node.bad(&node.join_args(&good));
    assert!(told.contains("data"), "{told}");
    std::fs::remove_file(&held).unwrap();
    nothing_is_left(&first, &node);
    node.join(&token(&first, "node2"));
    assert!(node.data().join("init.yaml").exists());
}

#[test]
fn a_joiner_that_is_killed_once_it_is_let_in_can_join_again() {
    let [first, mut node] = nodes(["node1", "node2"]);
    first.bootstrap();
    let (address, heard, _release) = holding_proxy(&first.place.k8sd);
    let good = changed(&token(&first, "node2"), |token| {
        token.join_addresses = vec![address];
    });
    let mut join = joining(&node, &good);
    heard.recv_timeout(ASK_TIMEOUT).unwrap();
    wait_for("the row of the node", || {
        first.good(&["members"]).contains("PENDING") && first.good(&["members"]).contains("node2")
    });
    node.kill_daemon();
    assert!(!join.wait().unwrap().success());
    node.start_daemon();
    // At once by hand, or some minutes later by itself.
    first.good(&["remove", "node2", "--force"]);
    nothing_is_left(&first, &node);
    node.join(&token(&first, "node2"));
    wait_for("the node", || {
        first.good(&["members"]).matches("ONLINE").count() == 2
    });
}

#[test]
fn a_node_whose_admission_is_lost_on_the_way_is_forgotten() {
    let [first, node] = nodes(["node1", "node2"]);
    first.bootstrap();
    let (address, heard, release) = holding_proxy(&first.place.k8sd);
    let real = first.place.k8sd.clone();
    let good = changed(&token(&first, "node2"), |token| {
        token.join_addresses = vec![address, real];
    });
    let mut join = joining(&node, &good);
    heard.recv_timeout(ASK_TIMEOUT).unwrap();
    drop(release);
    assert!(!join.wait().unwrap().success());
    nothing_is_left(&first, &node);
    node.join(&token(&first, "node2"));
}

#[test]
fn a_member_that_does_not_answer_is_in_nobodys_way() {
    let [first, second, third, fourth] = nodes(["node1", "node2", "node3", "node4"]);
    first.bootstrap();
    for (node, name) in [(&second, "node2"), (&third, "node3")] {
        node.join(&token(&first, name));
    }
    wait_for("three voters", || {
        first.good(&["members"]).matches("voter").count() == 3
    });
    let stop = |signal| kill(third.daemon_pid(), signal).unwrap();
    stop(Signal::SIGSTOP);
    fourth.join(&token(&first, "node4"));
    stop(Signal::SIGCONT);
    wait_for("four members that trust each other", || {
        [&first, &third, &fourth]
            .iter()
            .all(|node| node.good(&["members"]).matches("ONLINE").count() == 4)
    });
    consistent(&first);
}
