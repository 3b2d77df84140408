//! Several addresses of the API at once.

use std::path::PathBuf;

use etcd_proto::etcdserverpb::MemberListRequest;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::*;

/// A server with TLS for everybody, a port in clear and a socket for its own machine.
struct Listening {
    server: Server,
    pki: std::sync::Arc<Pki>,
    clear_port: u16,
    socket: PathBuf,
    // Sockets have short names: not in the build directory.
    _dir: tempfile::TempDir,
}

impl Listening {
    fn prepare(flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (pki, socket) = (Pki::new(), dir.path().join("k.sock"));
        let options = Options {
            flags: pki.flags(),
            tls: Some(pki.client(None)),
        };
        let mut server = Server::prepare(Kind::K8sDqlite, options);
        let clear_port = free_port();
        let listen = format!(
            "--listen={},http://127.0.0.1:{clear_port},unix://{}",
            server.client_url(),
            socket.display()
        );
        server.add_flags(&[listen]);
        server.add_flags(&flags.iter().map(ToString::to_string).collect::<Vec<_>>());
        Self {
            server,
            pki,
            clear_port,
            socket,
            _dir: dir,
        }
    }

    /// One connection to each address.
    async fn apis(&self) -> [Api; 3] {
        let clear = Api::connect(&format!("http://127.0.0.1:{}", self.clear_port)).await;
        let local = Api::connect(&format!("unix://{}", self.socket.display())).await;
        [self.server.api().await, clear, local]
    }
}

#[tokio::test]
async fn clients_of_all_addresses_share_one_store_and_one_stop() {
    let mut listening = Listening::prepare(&[]);
    listening.server.restart().await;
    let apis = listening.apis().await;
    for (writer, name) in apis.iter().zip(["tls", "clear", "local"]) {
        let at = writer.put(name, "1").await;
        for reader in &apis {
            assert_eq!(reader.ask(get(name)).await.kvs[0].mod_revision, at);
        }
    }
    let mut watchers = Vec::new();
    for api in &apis {
        watchers.push(Watcher::open(api, watch("a")).await.0);
    }
    // All at once.
    let [tls, clear, local] = &apis;
    let (one, two, three) =
        tokio::join!(tls.put("a", "1"), clear.put("a", "1"), local.put("a", "1"));
    let mut revisions = [one, two, three];
    revisions.sort_unstable();
    assert_eq!(revisions, [5, 6, 7]);
    for watcher in &mut watchers {
        let lines = event_lines(&watcher.events(3).await);
        assert_eq!(lines, ["PUT a=1 @5", "PUT a=1 @6", "PUT a=1 @7"]);
    }
    // Others are told what they can reach.
    let members = apis[2].ask(MemberListRequest::default()).await.members;
    let urls = [
        format!("http://127.0.0.1:{}", listening.clear_port),
        listening.server.client_url(),
    ];
    let mut told = members[0].client_ur_ls.clone();
    told.sort_unstable();
    assert_eq!(told, urls);
    assert!(listening.server.terminate().await.success());
    assert!(!listening.socket.exists());
    for port in [listening.clear_port, listening.server.client_port()] {
        let refused = TcpStream::connect(("127.0.0.1", port)).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    }
}

#[tokio::test]
async fn an_address_that_is_taken_starts_none_of_them() {
    let mut listening = Listening::prepare(&[]);
    let socket = listening.socket.clone();
    // The last one: the others are bound before.
    let _occupant = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let server = &mut listening.server;
    server.launch();
    let status = server.process().wait().await;
    assert_eq!(status.code(), Some(4));
    server.forget();
    let output = server.output();
    assert!(output.contains(&socket.display().to_string()), "{output}");
    assert!(socket.exists(), "it is of another");
    let files = std::fs::read_dir(server.storage_dir()).unwrap();
    let names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names, ["init.yaml"]);
}

/// Asks over an open connection under a name of the server.
async fn ask_as(mut stream: impl AsyncRead + AsyncWrite + Unpin, host: &str) -> String {
    let request = format!("GET /version HTTP/1.1\r\nConnection: close\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // TLS may end without saying so.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn names_of_the_server_are_checked_where_there_is_no_tls() {
    let mut listening = Listening::prepare(&["--host-whitelist=etcd.example"]);
    listening.server.restart().await;
    let clear = || TcpStream::connect(("127.0.0.1", listening.clear_port));
    let known = ask_as(clear().await.unwrap(), "etcd.example").await;
    assert!(known.starts_with("HTTP/1.1 200"), "{known}");
    let unknown = ask_as(clear().await.unwrap(), "other.example").await;
    assert!(unknown.starts_with("HTTP/1.1 421"), "{unknown}");
    let client = listening.pki.client(None);
    let with_tls = client
        .connect(listening.server.client_port())
        .await
        .unwrap();
    let answer = ask_as(with_tls, "other.example").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
