//! An S3 server over TLS, with an authority of its own.

use archive::place::{Place, PlaceError, open};
use bytes::Bytes;

use crate::{
    behaviour,
    server::{BUCKET, SECRET, Server, Wire, free_port, url, write_certificate, write_secret},
};

async fn error(place: &Place) -> PlaceError {
    let error = place.create("delta/1", Bytes::from_static(b"a")).await;
    let error = error.unwrap_err();
    assert!(!format!("{error} {error:?}").contains(SECRET), "{error}");
    error
}

#[tokio::test]
async fn a_bucket_is_a_place() {
    let Some(server) = Server::start(Wire::Tls).await else {
        return;
    };
    behaviour::check(&server.place()).await;
    // What is beside the prefix is not touched.
    let beside = open(
        &url(BUCKET, "https", server.port).replace("one", "two"),
        &server.options(),
    );
    behaviour::check(&beside.unwrap()).await;
}

#[tokio::test]
async fn what_an_operator_can_mend_is_named() {
    let Some(server) = Server::start(Wire::Tls).await else {
        return;
    };
    let mut options = server.options();
    let at = |url: &str, options: &_| open(url, options).unwrap();
    let url_of = |bucket: &str| server.url(bucket);
    let found = error(&at(&url_of("elsewhere"), &options)).await;
    assert!(matches!(found, PlaceError::NoPlace { .. }), "{found}");
    let nobody = url(BUCKET, "https", free_port());
    let found = error(&at(&nobody, &options)).await;
    assert!(matches!(found, PlaceError::Unreachable { .. }), "{found}");
    assert!(found.is_passing());

    let wrong = server.file("wrong");
    write_secret(&wrong, "another-secret");
    options.credentials_file = Some(wrong);
    let place = at(&url_of(BUCKET), &options);
    let found = error(&place).await;
    assert!(matches!(found, PlaceError::Credentials { .. }), "{found}");
    assert!(!format!("{place} {place:?} {found} {found:?}").contains("another-secret"));

    let other = tempfile::tempdir().unwrap();
    write_certificate(other.path());
    let mut options = server.options();
    options.trusted_ca_file = Some(other.path().join("cert.pem"));
    let found = error(&at(&url_of(BUCKET), &options)).await;
    assert!(
        found.to_string().contains("certificate is not trusted"),
        "{found}"
    );
    assert!(matches!(found, PlaceError::Unreachable { .. }), "{found}");
}
