//! An S3 server behind a proxy that does what networks and servers do.

use std::time::{Duration, Instant};

use archive::place::{Place, PlaceError, PlaceOptions, open};
use bytes::Bytes;
use futures_util::TryStreamExt;
use hyper::Method;

use crate::{
    proxy::{Fault, Proxy},
    server::{BUCKET, Server, Wire, url},
};

/// The longest silence of a server here.
const SILENCE: Duration = Duration::from_secs(10);

struct Setting {
    server: Server,
    proxy: Proxy,
}

impl Setting {
    async fn start() -> Option<Self> {
        let server = Server::start(Wire::Plain).await?;
        let proxy = Proxy::start(server.port).await;
        Some(Self { server, proxy })
    }

    fn place(&self, silence: Duration) -> Place {
        let options = PlaceOptions {
            silence: Some(silence),
            ..self.server.options()
        };
        open(&url(BUCKET, "http", self.proxy.port), &options).unwrap()
    }

    /// Returns the names that are there, past the proxy.
    async fn names(&self) -> Vec<String> {
        let listed = self.server.place().list("delta", None);
        listed
            .map_ok(|found| found.name)
            .try_collect()
            .await
            .unwrap()
    }
}

fn content() -> Bytes {
    Bytes::from(vec![7; 300_000])
}

#[tokio::test]
async fn an_object_is_created_once_whatever_happens_to_the_requests() {
    let Some(setting) = Setting::start().await else {
        return;
    };
    let place = setting.place(SILENCE);
    let cases: &[&[Fault]] = &[
        &[],
        &[Fault::Status(500)],
        &[Fault::Status(503), Fault::Status(503)],
        &[Fault::Status(429)],
        &[Fault::Done(500)],
        &[Fault::Done(503), Fault::Status(500)],
        &[Fault::Lost],
        &[Fault::Lost, Fault::Lost],
        &[Fault::Twice],
        &[Fault::Slow(Duration::from_millis(300))],
    ];
    for (at, faults) in cases.iter().enumerate() {
        let name = format!("delta/{at:03}");
        setting.proxy.will(Method::PUT, faults);
        let created = place.create(&name, content()).await;
        created.unwrap_or_else(|error| panic!("{faults:?}: {error}"));
        assert!(setting.proxy.is_done(), "{faults:?}");
        assert_eq!(setting.names().await.len(), at + 1, "{faults:?}");
        assert_eq!(place.read(&name).await.unwrap(), content());
        let other = place.create(&name, Bytes::from_static(b"other")).await;
        assert!(
            matches!(other, Err(PlaceError::Exists { .. })),
            "{faults:?}"
        );
    }
}

#[tokio::test]
async fn answers_that_break_off_are_read_on() {
    let Some(setting) = Setting::start().await else {
        return;
    };
    let place = setting.place(SILENCE);
    place.create("delta/1", content()).await.unwrap();
    for faults in [
        &[Fault::CutShort][..],
        &[Fault::CutShort, Fault::CutShort],
        &[Fault::Status(500), Fault::CutShort, Fault::Lost],
    ] {
        setting.proxy.will(Method::GET, faults);
        let read = place.read("delta/1").await;
        assert!(read.unwrap() == content(), "{faults:?}");
        assert!(setting.proxy.is_done(), "{faults:?}");
    }
    setting
        .proxy
        .will(Method::GET, &[Fault::Status(503), Fault::Lost]);
    let listed: Vec<_> = place.list("delta", None).try_collect().await.unwrap();
    assert_eq!(listed.len(), 1);
}

#[tokio::test]
async fn a_refusal_in_the_middle_is_told_and_passes() {
    let Some(setting) = Setting::start().await else {
        return;
    };
    let place = setting.place(SILENCE);
    let mut upload = place.upload("base/1");
    upload.write(&vec![1; 10 << 20]).await.unwrap();
    setting.proxy.will(Method::PUT, &[Fault::Status(403)]);
    upload.write(&vec![1; 5 << 20]).await.unwrap();
    let refused = upload.write(&vec![1; 5 << 20]).await;
    assert!(
        matches!(refused, Err(PlaceError::Forbidden { .. })),
        "{refused:?}"
    );
    upload.abandon().await.unwrap();
    let missing = place.read("base/1").await;
    assert!(
        matches!(missing, Err(PlaceError::Missing { .. })),
        "{missing:?}"
    );
    setting.proxy.will(Method::PUT, &[Fault::Status(403)]);
    let refused = place.create("delta/1", content()).await;
    assert!(
        matches!(refused, Err(PlaceError::Forbidden { .. })),
        "{refused:?}"
    );
    place.create("delta/1", content()).await.unwrap();
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let Some(setting) = Setting::start().await else {
        return;
    };
    let place = setting.place(Duration::from_secs(1));
    setting.proxy.will(Method::PUT, &[Fault::Never]);
    // Of the look whether the object is there.
    setting.proxy.will(Method::GET, &[Fault::Never; 8]);
    let began = Instant::now();
    let silent = place.create("delta/1", content()).await;
    assert!(
        matches!(silent, Err(PlaceError::TimedOut { .. })),
        "{silent:?}"
    );
    assert!(silent.unwrap_err().is_passing());
    assert!(began.elapsed() < Duration::from_secs(120));
}

#[tokio::test]
async fn a_server_that_writes_over_objects_is_refused() {
    let Some(setting) = Setting::start().await else {
        return;
    };
    let place = setting.place(SILENCE);
    place.prove_exclusive().await.unwrap();
    setting.proxy.will(Method::PUT, &[Fault::Status(200); 2]);
    let proven = place.prove_exclusive().await;
    assert!(
        matches!(proven, Err(PlaceError::NotExclusive { .. })),
        "{proven:?}"
    );
    // One that says that it does not know the condition.
    setting.proxy.will(Method::PUT, &[Fault::Status(501)]);
    let proven = place.prove_exclusive().await;
    assert!(
        matches!(proven, Err(PlaceError::Refused { .. })),
        "{proven:?}"
    );
}

#[tokio::test]
async fn the_environment_is_not_needed_with_a_file() {
    let options = PlaceOptions {
        credentials_file: Some("/nowhere/credentials".into()),
        ..PlaceOptions::default()
    };
    let opened = open("s3://b", &options);
    assert!(
        matches!(opened, Err(PlaceError::CredentialsFile(_))),
        "{opened:?}"
    );
}
