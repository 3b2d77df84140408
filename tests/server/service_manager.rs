//! The server under a service manager: what it tells, and the sockets that it is given.

mod manager;

use std::{
    fs,
    os::{
        fd::AsFd,
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
    process::{Command, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;

use self::manager::{Frozen, Manager};
use crate::{harness::*, nodes::trio::Trio};

/// The timeout of the watchdog: six signs of life come in it, and half of it is the engine's.
const WATCHDOG: Duration = Duration::from_secs(3);

#[tokio::test]
async fn it_is_ready_when_it_serves_and_says_that_it_stops() {
    let mut server = Server::prepare(Kind::K8sDqlite, Options::default());
    let manager = Manager::new();
    server.launch_with(|command, _| manager.watch(command, None));
    manager.wait_for("READY=1").await;
    // At once: who waits for the service is not refused.
    let api = Api::try_connect(&server.client_url()).await;
    let written = api.expect("it listens").try_ask(put("a", "1")).await;
    assert!(written.is_ok(), "{written:?}");
    manager.wait_for("STATUS=serving").await;
    manager.wait_for("; leads").await;
    let told = manager.told();
    let first_ready = told.iter().position(|line| line == "READY=1").unwrap();
    assert_eq!(told[0], "STATUS=starting dqlite", "{told:?}");
    assert!(first_ready > 0);
    assert!(
        !told.iter().any(|line| line.starts_with("WATCHDOG")),
        "{told:?}"
    );
    let status = server.terminate().await;
    assert!(status.success(), "{status}");
    manager.wait_for("STOPPING=1").await;
    let last = manager.told().pop();
    assert_eq!(last.as_deref(), Some("STATUS=stopping"));
}

#[tokio::test]
async fn a_node_without_a_majority_is_not_ready() {
    let mut trio = Trio::start().await;
    for node in &mut trio.nodes {
        node.kill9();
    }
    let manager = Manager::new();
    trio.nodes[0].launch_with(|command, _| manager.watch(command, None));
    manager.wait_for("STATUS=waiting for a leader").await;
    let told = manager.told();
    assert!(!told.contains(&"READY=1".to_owned()), "{told:?}");
    trio.nodes[1].launch();
    manager.wait_for("READY=1").await;
    manager.wait_for("STATUS=serving").await;
    trio.nodes[1].kill9();
    manager.wait_for("no leader: writes wait").await;
}

#[tokio::test]
async fn a_hangup_reloads_what_can_change() {
    let pki = Pki::new();
    let options = Options {
        flags: pki.flags(),
        tls: Some(pki.client(None)),
    };
    let mut server = Server::prepare(Kind::K8sDqlite, options);
    let manager = Manager::new();
    server.launch_with(|command, _| manager.watch(command, None));
    manager.wait_for("READY=1").await;
    manager.forget();
    let tuning = server.storage_dir().join("tuning.yaml");
    fs::write(
        &tuning,
        "kine-compact-interval: 7s\nnetwork-latency: 20ms\n",
    )
    .unwrap();
    server.process().signal(Signal::SIGHUP);
    manager.wait_for("READY=1").await;
    let told = manager.told();
    let [reloading, at, ready] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!((&**reloading, &**ready), ("RELOADING=1", "READY=1"));
    assert!(at.starts_with("MONOTONIC_USEC="), "{told:?}");
    let output = server.output();
    assert!(
        output.contains("the interval of compactions has changed interval=Some(7s)"),
        "{output}"
    );
    assert!(output.contains("network-latency take effect at the next start"));
    assert!(output.contains("reloaded: TLS files of the etcd API"));

    // What is wrong changes nothing, and the server goes on.
    manager.forget();
    fs::write(&tuning, "kine-compact-interval: soon\n").unwrap();
    server.process().signal(Signal::SIGHUP);
    manager.wait_for("READY=1").await;
    let output = server.output();
    assert!(output.contains("the earlier settings stay in use"));
    assert_eq!(output.matches("reloaded: tuning.yaml").count(), 1);
    server.api().await.put("a", "1").await;
}

#[tokio::test]
async fn without_a_service_manager_a_hangup_ends_it() {
    let mut server = Server::prepare(Kind::K8sDqlite, Options::default());
    let inner = server.command();
    let mut command = Command::new("env");
    // The tests may run where it is ignored, such as under nohup.
    command.arg("--default-signal=HUP").arg(inner.get_program());
    command.args(inner.get_args());
    server.launch_on(command);
    server.ready().await;
    server.process().signal(Signal::SIGHUP);
    let status = server.process().wait().await;
    assert_eq!(status.code(), None, "{status}");
}

#[tokio::test]
async fn the_watchdog_hears_nothing_of_a_process_that_is_stopped() {
    let mut server = Server::prepare(Kind::K8sDqlite, Options::default());
    let manager = Manager::new();
    server.launch_with(|command, _| manager.watch(command, Some(WATCHDOG)));
    manager.wait_for("READY=1").await;
    manager.wait_for("WATCHDOG=1").await;
    server.process().signal(Signal::SIGSTOP);
    manager.is_silent_for(WATCHDOG, "WATCHDOG=1").await;
    server.process().signal(Signal::SIGCONT);
    manager.forget();
    manager.wait_for("WATCHDOG=1").await;
}

/// The engine's loop alone is stopped: everything else runs, and answers.
#[tokio::test]
async fn the_watchdog_hears_nothing_while_the_engine_hangs() {
    let mut server = Server::prepare(Kind::K8sDqlite, Options::default());
    let manager = Manager::new();
    server.launch_with(|command, _| manager.watch(command, Some(WATCHDOG)));
    manager.wait_for("READY=1").await;
    manager.wait_for("WATCHDOG=1").await;
    let engine = Frozen::engine_of(server.process().id()).await;
    until("it notices", async || {
        server.output().contains("dqlite has not answered for")
    })
    .await;
    assert_eq!(server.http("GET", "/version").await.status, 200);
    manager.is_silent_for(WATCHDOG, "WATCHDOG=1").await;
    drop(engine);
    manager.forget();
    manager.wait_for("WATCHDOG=1").await;
    server.api().await.put("a", "1").await;
}

#[tokio::test]
async fn it_serves_at_a_socket_that_it_is_given() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut server = Server::prepare(Kind::K8sDqlite, Options::default());
    server.add_flags(&[format!("--listen=tcp://{address}")]);
    server.launch_on(given(&server, &socket, "$$"));
    let url = format!("http://{address}");
    // It waits in the socket, which was there before the server.
    let api = Api::connect(&url).await;
    api.put("a", "1").await;
    server.terminate().await;
    // And is there after it.
    server.launch_on(given(&server, &socket, "$$"));
    let found = Api::connect(&url).await.ask(get("a")).await;
    assert_eq!(found.count, 1);
}

#[tokio::test]
async fn a_socket_that_no_flag_names_is_refused() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut server = Server::prepare(Kind::K8sDqlite, Options::default());
    server.launch_on(given(&server, &socket, "$$"));
    let status = server.process().wait().await;
    assert_eq!(status.code(), Some(4), "{status}");
    let expected = format!("passes a socket at tcp://{address}, which no --listen names");
    assert!(server.output().contains(&expected), "{}", server.output());
}

#[tokio::test]
async fn an_abstract_socket_is_refused() {
    let name = format!("k8s-dqlite-passed-{}", std::process::id());
    let name = SocketAddr::from_abstract_name(name).unwrap();
    let socket = UnixListener::bind_addr(&name).unwrap();
    let mut server = Server::prepare(Kind::K8sDqlite, Options::default());
    server.launch_on(given(&server, &socket, "$$"));
    let status = server.process().wait().await;
    assert_eq!(status.code(), Some(4), "{status}");
    let expected = "it is an abstract unix socket, and --listen names paths";
    assert!(server.output().contains(expected), "{}", server.output());
}

#[tokio::test]
async fn a_socket_for_another_process_is_left_alone() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut server = Server::prepare(Kind::K8sDqlite, Options::default());
    server.launch_on(given(&server, &socket, "1"));
    server.ready().await;
    server.api().await.put("a", "1").await;
}

/// The server's command with the socket as its third file, as systemd starts it; `process` is the one that it is for, as the shell
/// writes it.
fn given(server: &Server, socket: &impl AsFd, process: &str) -> Command {
    let inner = server.command();
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            &format!(r#"LISTEN_FDS=1 LISTEN_PID={process} exec "$@" 3<&0 </dev/null"#),
            "sh",
        ])
        .arg(inner.get_program())
        .args(inner.get_args())
        .stdin(Stdio::from(socket.as_fd().try_clone_to_owned().unwrap()));
    command
}
