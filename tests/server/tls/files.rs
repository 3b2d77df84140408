//! Files that change while the server runs, and files that cannot be used.

use std::fs;

use openssl::x509::X509;

use super::mutual;
use crate::harness::*;

parity! { with mutual(); a_new_certificate_is_shown_without_a_restart }

/// Returns the certificate that the server shows to new connections.
async fn shown(server: &Server) -> Option<X509> {
    let stream = server.tls().connect(server.client_port()).await.ok()?;
    stream.ssl().peer_certificate()
}

async fn shows(server: &Server, expected: &X509) {
    until("the server shows the certificate", async || {
        shown(server)
            .await
            .is_some_and(|shown| shown.to_der().unwrap() == expected.to_der().unwrap())
    })
    .await;
}

async fn a_new_certificate_is_shown_without_a_restart(server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    let before = shown(&server).await.unwrap();
    let renewed = server.tls().pki().renew_server();
    assert_ne!(before.to_der().unwrap(), renewed.to_der().unwrap());
    shows(&server, &renewed).await;
    assert_eq!(api.put("a", "2").await, 3, "old connections stay");
    assert_eq!(server.api().await.put("a", "3").await, 4);
}

#[tokio::test]
async fn unusable_new_files_leave_the_old_ones_in_use() {
    let server = Server::start_with(Kind::K8sDqlite, mutual()).await;
    let before = shown(&server).await.unwrap();
    let pair = server.tls().pki().pair("server");
    fs::write(&pair.certificate, "not a certificate").unwrap();
    until("the server has noticed", async || {
        let shown = shown(&server).await.expect("it shows the old one");
        assert_eq!(shown.to_der().unwrap(), before.to_der().unwrap());
        server.output().contains("the earlier ones stay in use")
    })
    .await;
    let output = server.output();
    assert!(output.contains("holds no certificate"), "{output}");
    fs::remove_file(&pair.key).unwrap();
    assert_eq!(server.api().await.put("a", "1").await, 2);
    let renewed = server.tls().pki().renew_server();
    shows(&server, &renewed).await;
}

/// Starts a server that gives up with this exit code; returns what it says.
async fn refuses(options: Options, code: i32) -> String {
    let mut server = Server::prepare(Kind::K8sDqlite, options);
    server.launch();
    let status = server.process().wait().await;
    let output = server.output();
    assert_eq!(status.code(), Some(code), "{output}");
    assert!(!output.contains("panicked"), "{output}");
    output
}

#[tokio::test]
async fn unusable_files_at_the_start_are_named() {
    const CONFIG: i32 = 3;
    let options = mutual();
    let pki = options.tls.as_ref().unwrap().pki().clone();
    let pair = pki.pair("server");
    let certificate = fs::read(&pair.certificate).unwrap();
    fs::remove_file(&pair.certificate).unwrap();
    let output = refuses(options.clone(), CONFIG).await;
    assert!(
        output.contains("--cert-file") && output.contains("server.crt"),
        "{output}"
    );
    fs::write(&pair.certificate, certificate).unwrap();

    fs::copy(pki.pair("root").key, &pair.key).unwrap();
    let output = refuses(options.clone(), CONFIG).await;
    assert!(
        output.contains("does not belong to the certificate"),
        "{output}"
    );

    pki.renew_server();
    fs::write(pki.authority(), "nothing").unwrap();
    let output = refuses(options, CONFIG).await;
    assert!(
        output.contains("--trusted-ca-file") && output.contains("ca.crt"),
        "{output}"
    );
}

#[tokio::test]
async fn flags_that_do_not_fit_together_say_what_to_do() {
    const USAGE: i32 = 2;
    let pki = Pki::new();
    let tls = || Some(pki.client(None));
    let [certificate, key] = <[String; 2]>::try_from(pki.flags()).unwrap();
    let flag = |text: &str| text.to_owned();
    for (flags, tls, expected) in [
        (vec![], tls(), "needs --cert-file"),
        (vec![certificate.clone()], tls(), "needs --key-file"),
        (
            vec![certificate.clone(), key.clone()],
            None,
            "write https://",
        ),
        (vec![flag("--client-cert-auth")], None, "write https://"),
        (
            vec![certificate.clone(), key.clone(), flag("--client-cert-auth")],
            tls(),
            "needs --trusted-ca-file",
        ),
        (
            vec![flag("--tls-min-version=TLS1.1")],
            tls(),
            "TLS1.2 or TLS1.3",
        ),
    ] {
        let output = refuses(Options { flags, tls }, USAGE).await;
        assert!(output.contains(expected), "{output}");
    }
}
