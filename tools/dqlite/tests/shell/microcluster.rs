//! A node behind an HTTP server, as in k8sd: the shell has to ask for the upgrade, and to show its server's pair.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use bytes::{Bytes, BytesMut};
use dqlite::wire::{Header, NodeId, Reply, Request, Role, Server};
use openssl::ssl::{SslAcceptor, SslFiletype, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::X509;

use crate::pair::{Flaw, Pair};
use crate::run::{OURS, run};

/// Reads the head of a request; what it asks for is checked by the caller.
fn head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Answers as the only node of a cluster, until the client has gone.
fn serve(stream: &mut (impl Read + Write), address: &str) {
    let node = Server {
        id: NodeId::new(0xabc),
        address: address.to_owned(),
        role: Role::Voter,
    };
    let mut version = [0; 8];
    stream.read_exact(&mut version).unwrap();
    loop {
        let mut raw = [0; Header::BYTES];
        if stream.read_exact(&mut raw).is_err() {
            return;
        }
        let header = Header::decode(&raw).unwrap();
        let mut body = vec![0; header.body_bytes()];
        stream.read_exact(&mut body).unwrap();
        let reply = match Request::decode(&header, &Bytes::from(body)).unwrap() {
            Request::Leader => Reply::Server {
                id: node.id,
                address: node.address.clone(),
            },
            Request::Client { .. } => Reply::Welcome {
                heartbeat_timeout_ms: 15_000,
            },
            Request::Cluster { .. } => Reply::Servers(vec![node.clone()]),
            other => panic!("{other:?}"),
        };
        let mut out = BytesMut::new();
        reply.encode(&mut out).unwrap();
        stream.write_all(&out).unwrap();
    }
}

#[test]
fn the_database_of_a_microcluster_is_reached_through_its_http_port() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Pair::make(dir.path(), Flaw::default());
    let server = Pair::make(&dir.path().join("server"), Flaw::default());
    fs::rename(&server.certificate, dir.path().join("server.crt")).unwrap();
    fs::rename(&server.key, dir.path().join("server.key")).unwrap();
    let shown = X509::from_pem(&fs::read(dir.path().join("server.crt")).unwrap()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    fs::create_dir(dir.path().join("database")).unwrap();
    fs::write(
        dir.path().join("database/cluster.yaml"),
        format!("- ID: 2748\n  Address: {address}\n  Role: 0\n"),
    )
    .unwrap();
    let mut acceptor = SslAcceptor::mozilla_modern_v5(SslMethod::tls_server()).unwrap();
    acceptor
        .set_min_proto_version(Some(SslVersion::TLS1_3))
        .unwrap();
    acceptor
        .set_certificate_file(&cluster.certificate, SslFiletype::PEM)
        .unwrap();
    acceptor
        .set_private_key_file(&cluster.key, SslFiletype::PEM)
        .unwrap();
    // As microcluster: asked for, and compared afterwards.
    acceptor.set_verify_callback(SslVerifyMode::PEER, |_, _| true);
    let acceptor = acceptor.build();
    let own = address.clone();
    thread::spawn(move || {
        for answer in [
            "101 Switching Protocols\r\nUpgrade: dqlite",
            "403 Forbidden",
        ] {
            let (stream, _) = listener.accept().unwrap();
            let mut stream = acceptor.accept(stream).unwrap();
            let peer = stream.ssl().peer_certificate().unwrap();
            assert_eq!(peer.to_der().unwrap(), shown.to_der().unwrap());
            let request = head(&mut stream);
            assert!(
                request.starts_with("POST /core/internal/database HTTP/1.1\r\n"),
                "{request}"
            );
            assert!(request.contains(&format!("Host: {own}\r\n")), "{request}");
            write!(stream, "HTTP/1.1 {answer}\r\n\r\n").unwrap();
            if answer.starts_with("101") {
                serve(&mut stream, &own);
            }
        }
    });
    let state = dir.path().to_str().unwrap();
    let flags = ["--microcluster", state, "--timeout", "20000"];
    let members = run(OURS, &[&flags[..], &[".cluster"]].concat()).good();
    assert_eq!(members, format!("abc|{address}|voter\n"));
    let flags = ["--microcluster", state, "--timeout", "500"];
    let error = run(
        OURS,
        &[&flags[..], &[&format!(".describe {address}")]].concat(),
    )
    .failed(13);
    assert!(error.contains("403 Forbidden"), "{error}");
}
