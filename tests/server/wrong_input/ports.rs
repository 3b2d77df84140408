//! Addresses that cannot be listened on.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;

use super::{prepare, refuses_to_start};
use crate::harness::*;

/// The exit code for an address that cannot be listened on.
const LISTEN: i32 = 4;

#[tokio::test]
async fn an_occupied_client_port_is_named() {
    let mut server = prepare();
    let occupant = TcpListener::bind((Ipv4Addr::LOCALHOST, server.client_port())).unwrap();
    let output = refuses_to_start(&mut server, LISTEN).await;
    assert!(
        output.contains(&format!("127.0.0.1:{}", server.client_port())),
        "{output}"
    );
    assert!(output.contains("in use"), "{output}");
    drop(occupant);
    server.restart().await;
    assert_eq!(server.api().await.revision().await, 1);
}

#[tokio::test]
async fn an_occupied_node_port_is_named() {
    let mut server = prepare();
    let occupant = TcpListener::bind((Ipv4Addr::LOCALHOST, server.node_port())).unwrap();
    let output = refuses_to_start(&mut server, LISTEN).await;
    assert!(
        output.contains(&format!("127.0.0.1:{}", server.node_port())),
        "{output}"
    );
    assert!(output.contains("in use"), "{output}");
    drop(occupant);
    server.restart().await;
    assert_eq!(server.api().await.revision().await, 1);
}

/// An address of the documentation range, which no machine has.
const ELSEWHERE: &str = "192.0.2.1:9000";

/// The files of a storage directory that its node has for itself, with their content.
fn files(server: &Server) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(server.storage_dir()).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap())
    });
    files.filter(|(name, _)| name != "dqlite-lock").collect()
}

fn write_address(server: &Server, file: &str, address: &str) {
    let text = format!("Address: {address}\n");
    fs::write(server.storage_dir().join(file), text).unwrap();
}

#[tokio::test]
async fn an_address_of_elsewhere_in_init_yaml_is_written_nowhere() {
    let mut server = prepare();
    for address in [ELSEWHERE, "no-such-host.invalid:9000"] {
        write_address(&server, "init.yaml", address);
        let before = files(&server);
        let output = refuses_to_start(&mut server, LISTEN).await;
        assert!(output.contains(address), "{output}");
        assert!(
            output.contains("init.yaml. Nothing was written"),
            "{output}"
        );
        assert_eq!(files(&server), before);
    }
    let right = format!("127.0.0.1:{}", server.node_port());
    write_address(&server, "init.yaml", &right);
    server.restart().await;
    assert_eq!(server.api().await.put("a", "1").await, 2);
}

#[tokio::test]
async fn an_address_of_elsewhere_in_update_yaml_changes_nothing() {
    let mut server = prepare();
    server.restart().await;
    server.api().await.put("a", "1").await;
    assert!(server.terminate().await.success());
    write_address(&server, "update.yaml", ELSEWHERE);
    let before = files(&server);
    let output = refuses_to_start(&mut server, LISTEN).await;
    assert!(output.contains(ELSEWHERE), "{output}");
    assert!(
        output.contains("update.yaml. Nothing was changed"),
        "{output}"
    );
    assert_eq!(files(&server), before);
    fs::remove_file(server.storage_dir().join("update.yaml")).unwrap();
    server.restart().await;
    assert_eq!(server.api().await.ask(get("a")).await.kvs[0].value, "1");
}

#[tokio::test]
async fn a_socket_in_a_directory_that_is_not_there_is_named() {
    let flags = ["--listen", "unix:///no/such/directory/kine.sock"];
    let mut server = Server::prepare(Kind::K8sDqlite, Options::flags(&flags));
    let output = refuses_to_start(&mut server, LISTEN).await;
    assert!(output.contains("/no/such/directory"), "{output}");
}

#[tokio::test]
async fn a_unix_socket_serves_its_owner_alone_and_goes_with_the_server() {
    // Sockets have short names: not in the build directory.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kine.sock:12379");
    let listen = format!("--listen=unix://{}", path.display());
    let mut server = Server::prepare(Kind::K8sDqlite, Options::flags(&[&listen]));
    server.launch();
    let url = format!("unix://{}", path.display());
    until("the socket answers", async || {
        Api::try_connect(&url).await.is_some()
    })
    .await;
    let api = Api::connect(&url).await;
    assert_eq!(api.put("a", "1").await, 2);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // A socket that a killed server left is no obstacle.
    server.kill9();
    server.launch();
    until(
        "the socket answers again",
        async || match Api::try_connect(&url).await {
            Some(api) => api
                .try_ask(get("a"))
                .await
                .is_ok_and(|answer| answer.count == 1),
            None => false,
        },
    )
    .await;
    assert!(server.terminate().await.success());
    assert!(!path.exists());
}
