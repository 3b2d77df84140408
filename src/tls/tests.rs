use std::{fs, path::Path};

use dqlite::tls::{CertificateBuilder, new_key};
use openssl::{
    asn1::{Asn1IntegerRef, Asn1Object, Asn1OctetString, Asn1Time},
    bn::BigNum,
    hash::MessageDigest,
    pkey::{PKey, Private},
    ssl::{SslContextBuilder, SslMethod},
    x509::{X509, X509Crl, X509CrlBuilder, X509Extension, X509RevokedBuilder},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

/// Bytes that may be under way in each direction.
const PIPE_BYTES: usize = 64 * 1024;

const DAY_S: i64 = 24 * 3600;

pub(crate) struct Pair {
    certificate: X509,
    key: PKey<Private>,
}

/// Signed by itself, and for both sides.
fn pair(common_name: &str) -> Pair {
    let key = new_key(Nid::X9_62_PRIME256V1).unwrap();
    let name = [(Nid::COMMONNAME, common_name)];
    let subject = &name[..usize::from(!common_name.is_empty())];
    let now_s = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    let builder = CertificateBuilder::new(subject, &key, (now_s - 60, now_s + DAY_S)).unwrap();
    let certificate = builder.sign_itself(MessageDigest::sha256()).unwrap();
    Pair { certificate, key }
}

fn write(dir: &Path, pair: &Pair) {
    let key = pair.key.private_key_to_pem_pkcs8().unwrap();
    fs::write(dir.join("key"), key).unwrap();
    fs::write(dir.join("crt"), pair.certificate.to_pem().unwrap()).unwrap();
}

fn options(dir: &Path) -> TlsOptions {
    TlsOptions {
        files: TlsFiles {
            certificate: dir.join("crt"),
            key: dir.join("key"),
            trusted: Some(dir.join("crt")),
            revoked: None,
        },
        min_version: TlsVersion::Tls12,
        max_version: None,
        names_clients: true,
    }
}

/// A server, and the pair that it has, and wants to see from clients.
pub(crate) fn server() -> (Arc<ServerTls>, Pair) {
    let dir = tempfile::tempdir().unwrap();
    let pair = pair("root");
    write(dir.path(), &pair);
    let server = ServerTls::load(options(dir.path())).unwrap();
    (Arc::new(server), pair)
}

/// The handshake of a client that shows this pair.
pub(crate) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    pair: &Pair,
    stream: S,
) -> SslStream<S> {
    connect_with(pair, stream, None).await
}

async fn connect_with<S: AsyncRead + AsyncWrite + Unpin>(
    pair: &Pair,
    stream: S,
    max_version: Option<TlsVersion>,
) -> SslStream<S> {
    let mut context = SslContextBuilder::new(SslMethod::tls_client()).unwrap();
    context
        .set_max_proto_version(max_version.map(TlsVersion::as_openssl))
        .unwrap();
    context.set_certificate(&pair.certificate).unwrap();
    context.set_private_key(&pair.key).unwrap();
    let mut stream = SslStream::new(Ssl::new(&context.build()).unwrap(), stream).unwrap();
    // It fails where the server has refused, which says why.
    let _ = Pin::new(&mut stream).connect().await;
    stream
}

/// Both ends of a handshake in which the client shows this pair.
async fn shake(
    server: &Arc<ServerTls>,
    client: &Pair,
) -> (io::Result<Accepted<DuplexStream>>, SslStream<DuplexStream>) {
    let (near, far) = duplex(PIPE_BYTES);
    tokio::join!(server.accept(far), connect(client, near))
}

#[tokio::test]
async fn a_certificate_says_who_the_client_is() {
    let dir = tempfile::tempdir().unwrap();
    for (name, expected) in [("root", Some("root")), ("", None)] {
        let pair = pair(name);
        write(dir.path(), &pair);
        let server = Arc::new(ServerTls::load(options(dir.path())).unwrap());
        let (accepted, mut client) = shake(&server, &pair).await;
        let mut accepted = accepted.unwrap();
        assert_eq!(accepted.common_name.as_deref(), expected);
        accepted.stream.write_all(b"ping").await.unwrap();
        let mut read = [0; 4];
        client.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"ping");
    }
}

#[tokio::test]
async fn it_does_not_unless_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let pair = pair("root");
    write(dir.path(), &pair);
    let options = TlsOptions {
        names_clients: false,
        ..options(dir.path())
    };
    let server = Arc::new(ServerTls::load(options).unwrap());
    assert_eq!(shake(&server, &pair).await.0.unwrap().common_name, None);
}

fn revoke(pair: &Pair, serial: &Asn1IntegerRef) -> X509Crl {
    let now = Asn1Time::days_from_now(0).unwrap();
    let mut revoked = X509RevokedBuilder::new().unwrap();
    revoked.set_serial_number(serial).unwrap();
    revoked.set_revocation_date(&now).unwrap();
    let mut list = X509CrlBuilder::new().unwrap();
    list.set_issuer_name(pair.certificate.subject_name())
        .unwrap();
    list.set_last_update(&now).unwrap();
    list.set_next_update(&Asn1Time::days_from_now(1).unwrap())
        .unwrap();
    // A key identifier of one byte, and number 1; a list must have both.
    for (oid, contents) in [
        ("2.5.29.35", &b"\x30\x03\x80\x01\x00"[..]),
        ("2.5.29.20", b"\x02\x01\x01"),
    ] {
        let oid = Asn1Object::from_str(oid).unwrap();
        let contents = Asn1OctetString::new_from_bytes(contents).unwrap();
        let extension = X509Extension::new_from_der(&oid, false, &contents).unwrap();
        list.append_extension(extension).unwrap();
    }
    list.add_revoked(revoked.build()).unwrap();
    list.sign(&pair.key, MessageDigest::sha256()).unwrap();
    list.build().unwrap()
}

#[tokio::test]
async fn revoked_certificates_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let pair = pair("root");
    write(dir.path(), &pair);
    let list = dir.path().join("crl");
    let mut options = options(dir.path());
    options.files.revoked = Some(list.clone());
    let load = || ServerTls::load(options.clone()).map(Arc::new);
    assert!(matches!(load(), Err(ServerTlsError::Revoked(_))));
    fs::write(&list, "nothing").unwrap();
    assert!(matches!(load(), Err(ServerTlsError::NoRevocationList(_))));
    let other = BigNum::from_u32(8).unwrap().to_asn1_integer().unwrap();
    fs::write(&list, revoke(&pair, &other).to_pem().unwrap()).unwrap();
    assert!(shake(&load().unwrap(), &pair).await.0.is_ok());
    let own = pair.certificate.serial_number();
    fs::write(&list, revoke(&pair, own).to_der().unwrap()).unwrap();
    let (refused, _) = shake(&load().unwrap(), &pair).await;
    let error = refused.err().expect("it is refused").to_string();
    assert!(error.contains("revoked"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn files_are_looked_at_once_per_interval() {
    let dir = tempfile::tempdir().unwrap();
    let (before, after) = (pair("before"), pair("after"));
    write(dir.path(), &before);
    let server = Arc::new(ServerTls::load(options(dir.path())).unwrap());
    write(dir.path(), &after);
    assert!(shake(&server, &after).await.0.is_err(), "not seen yet");
    tokio::time::advance(LOOK_INTERVAL).await;
    assert!(shake(&server, &after).await.0.is_ok());
    assert!(shake(&server, &before).await.0.is_err());
    fs::write(dir.path().join("key"), "broken").unwrap();
    tokio::time::advance(LOOK_INTERVAL).await;
    assert!(shake(&server, &after).await.0.is_ok(), "the old ones stay");
}

#[tokio::test]
async fn files_that_could_not_be_used_are_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let (before, after) = (pair("before"), pair("after"));
    write(dir.path(), &before);
    let server = Arc::new(ServerTls::load(options(dir.path())).unwrap());
    write(dir.path(), &after);
    let (certificate, aside) = (dir.path().join("crt"), dir.path().join("aside"));
    fs::rename(&certificate, &aside).unwrap();
    for _ in 0..2 {
        assert!(server.reload().await.is_err());
        server.reload_if_changed();
        assert!(server.lock().failed.is_some());
    }
    assert!(shake(&server, &before).await.0.is_ok(), "it stays in use");
    fs::rename(&aside, &certificate).unwrap();
    server.reload_if_changed();
    assert!(server.lock().failed.is_none());
    assert!(shake(&server, &after).await.0.is_ok());
}

#[tokio::test]
async fn older_and_newer_versions_are_refused_where_that_is_asked_for() {
    use TlsVersion::{Tls12, Tls13};
    let dir = tempfile::tempdir().unwrap();
    let pair = pair("root");
    write(dir.path(), &pair);
    for (min_version, max_version, client_max, expected) in [
        (Tls12, None, None, Some("TLSv1.3")),
        (Tls12, None, Some(Tls12), Some("TLSv1.2")),
        (Tls12, Some(Tls12), None, Some("TLSv1.2")),
        (Tls13, None, Some(Tls12), None),
    ] {
        let options = TlsOptions {
            min_version,
            max_version,
            ..options(dir.path())
        };
        let server = Arc::new(ServerTls::load(options).unwrap());
        let (near, far) = duplex(PIPE_BYTES);
        let client = connect_with(&pair, near, client_max);
        let (accepted, _client) = tokio::join!(server.accept(far), client);
        let spoken = accepted.ok().map(|accepted| accepted.stream);
        let spoken = spoken.as_ref().map(|stream| stream.ssl().version_str());
        assert_eq!(spoken, expected);
    }
}
