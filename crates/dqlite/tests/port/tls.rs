//! The cluster's key pair: what it takes to load, and whom it lets in.

use std::fs;
use std::io;
use std::pin::Pin;

use super::pair::{PairFiles, new_key, options};
use dqlite::tls::{Tls, TlsError, TlsOptions, TlsVersion};
use openssl::ssl::{Ssl, SslContextBuilder, SslMethod, SslVersion};
use openssl::symm::Cipher;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_openssl::SslStream;

/// Handshakes over memory, then one byte from the server: only then does a TLS 1.3 client know that
/// it was let in.
async fn meet(server: &Tls, client: &Tls, host: &str) -> (io::Result<()>, io::Result<u8>) {
    let (near, far) = duplex(64 * 1024);
    let serve = async {
        let mut stream = server.accept(far).await?;
        stream.write_u8(7).await?;
        stream.flush().await
    };
    let connect = async { client.connect(host, near).await?.read_u8().await };
    tokio::join!(serve, connect)
}

async fn let_in(server: &Tls, client: &Tls, host: &str) -> bool {
    let (served, read) = meet(server, client, host).await;
    served.is_ok() && read.is_ok()
}

#[tokio::test]
async fn nodes_with_the_same_pair_meet_under_its_first_dns_name() {
    let tls = PairFiles::new(&["node1", "other"], &["10.0.0.1"]).load();
    assert!(let_in(&tls, &tls, "whatever").await);
    assert!(let_in(&tls, &tls, "10.0.0.9").await);
}

#[tokio::test]
async fn certificate_without_dns_name_is_checked_for_the_dialled_host() {
    let tls = PairFiles::new(&[], &["10.0.0.1"]).load();
    assert!(let_in(&tls, &tls, "10.0.0.1").await);
    assert!(!let_in(&tls, &tls, "10.0.0.2").await);
    assert!(!let_in(&tls, &tls, "node1").await);
    let nameless = PairFiles::new(&[], &[]).load();
    // The subject's common name is no host name.
    assert!(!let_in(&nameless, &nameless, "k8s").await);
}

#[tokio::test]
async fn another_pair_with_the_same_names_is_refused_on_either_side() {
    let ours = PairFiles::new(&["node1"], &[]).load();
    let theirs = PairFiles::new(&["node1"], &[]).load();
    let (served, _) = meet(&ours, &theirs, "node1").await;
    assert!(served.is_err());
    let (_, read) = meet(&theirs, &ours, "node1").await;
    assert!(read.is_err());
}

/// A handshake of `server` with a client that knows the pair but speaks up to `version`.
async fn accepts_version(files: &PairFiles, min_version: TlsVersion, version: SslVersion) -> bool {
    let server = Tls::load(&TlsOptions {
        min_version,
        ..files.options()
    })
    .unwrap();
    let mut context = SslContextBuilder::new(SslMethod::tls_client()).unwrap();
    context.set_min_proto_version(None).unwrap();
    context.set_max_proto_version(Some(version)).unwrap();
    context.set_cipher_list("DEFAULT:@SECLEVEL=0").unwrap();
    context
        .set_certificate_chain_file(files.certificate())
        .unwrap();
    context
        .set_private_key_file(files.key(), openssl::ssl::SslFiletype::PEM)
        .unwrap();
    let ssl = Ssl::new(&context.build()).unwrap();
    let (near, far): (DuplexStream, DuplexStream) = duplex(64 * 1024);
    let mut client = SslStream::new(ssl, near).unwrap();
    let (served, connected) = tokio::join!(server.accept(far), Pin::new(&mut client).connect());
    served.is_ok() && connected.is_ok()
}

#[tokio::test]
async fn versions_older_than_the_minimum_are_refused() {
    let files = PairFiles::new(&["node1"], &[]);
    assert!(accepts_version(&files, TlsVersion::Tls12, SslVersion::TLS1_2).await);
    assert!(!accepts_version(&files, TlsVersion::Tls12, SslVersion::TLS1_1).await);
    assert!(!accepts_version(&files, TlsVersion::Tls13, SslVersion::TLS1_2).await);
    assert!(accepts_version(&files, TlsVersion::Tls13, SslVersion::TLS1_3).await);
    assert!(accepts_version(&files, TlsVersion::Tls11, SslVersion::TLS1_1).await);
    assert!(accepts_version(&files, TlsVersion::Tls10, SslVersion::TLS1).await);
}

#[tokio::test]
async fn nodes_meet_at_every_minimum_version() {
    let files = PairFiles::new(&["node1"], &[]);
    for name in ["tls10", "tls11", "tls12", "tls13"] {
        let min_version = name.parse().unwrap();
        let tls = Tls::load(&TlsOptions {
            min_version,
            ..files.options()
        })
        .unwrap();
        assert!(let_in(&tls, &tls, "node1").await, "{name}");
    }
    let error = "ssl3".parse::<TlsVersion>().unwrap_err();
    assert!(
        error.to_string().contains("tls10, tls11, tls12 and tls13"),
        "{error}"
    );
}

#[test]
fn unreadable_file_is_named() {
    let files = PairFiles::new(&["node1"], &[]);
    let missing = files.dir.path().join("nothing");
    let error = Tls::load(&options(&missing, &files.key())).unwrap_err();
    assert!(matches!(&error, TlsError::Unreadable { path, .. } if *path == missing));
    let error = Tls::load(&options(&files.certificate(), &missing)).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with(&format!("cannot read {}", missing.display()))
    );
    let error = Tls::load(&options(files.dir.path(), &files.key())).unwrap_err();
    assert!(matches!(error, TlsError::Unreadable { .. }), "{error}");
}

#[test]
fn file_that_is_not_pem_is_named() {
    let files = PairFiles::new(&["node1"], &[]);
    let noise = files.dir.path().join("noise");
    for content in [
        &b""[..],
        b"\xff\0noise",
        b"-----BEGIN CERTIFICATE-----\nnoise\n",
    ] {
        fs::write(&noise, content).unwrap();
        let error = Tls::load(&options(&noise, &files.key())).unwrap_err();
        assert!(
            matches!(&error, TlsError::NoCertificate { path } if *path == noise),
            "{error}"
        );
        let error = Tls::load(&options(&files.certificate(), &noise)).unwrap_err();
        assert!(
            matches!(&error, TlsError::NoKey { path } if *path == noise),
            "{error}"
        );
    }
    let swapped = Tls::load(&options(&files.key(), &files.certificate())).unwrap_err();
    assert!(
        matches!(swapped, TlsError::NoCertificate { .. }),
        "{swapped}"
    );
}

#[test]
fn key_of_another_certificate_is_refused() {
    let files = PairFiles::new(&["node1"], &[]);
    let other = PairFiles::new(&["node1"], &[]);
    let error = Tls::load(&options(&files.certificate(), &other.key())).unwrap_err();
    assert!(matches!(error, TlsError::Mismatch { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("does not belong to the certificate")
    );
}

#[test]
fn encrypted_key_is_refused_without_a_prompt() {
    let files = PairFiles::new(&["node1"], &[]);
    let pem = new_key().private_key_to_pem_pkcs8_passphrase(Cipher::aes_128_cbc(), b"secret");
    fs::write(files.key(), pem.unwrap()).unwrap();
    let error = Tls::load(&files.options()).unwrap_err();
    assert!(matches!(error, TlsError::EncryptedKey { .. }), "{error}");
}
