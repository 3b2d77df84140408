//! A sealed archive in an S3 server over TLS.

use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use super::{
    path_text, restore, restored, text,
    versitygw::{BUCKET, Server as S3, Wire},
};
use crate::harness::*;

fn write_key(path: &Path) {
    let key: [u8; 32] = rand::random();
    let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    writeln!(file.unwrap(), "{key}").unwrap();
}

#[tokio::test]
async fn a_sealed_archive_in_s3_comes_back() {
    let Some(s3) = S3::start(Wire::Tls).await else {
        return;
    };
    let url = s3.url(BUCKET);
    let (credentials, authority) = (s3.file("credentials"), s3.file("cert.pem"));
    let key = s3.file("archive.key");
    write_key(&key);
    let without_key = [
        "--archive-credentials-file",
        path_text(&credentials),
        "--archive-trusted-ca-file",
        path_text(&authority),
    ];
    let with_key = [&without_key[..], &["--archive-key-file", path_text(&key)]].concat();
    let flags = [
        &["--archive", &url, "--archive-interval", "1s"][..],
        &with_key,
    ]
    .concat();
    let mut server = Server::start_with(Kind::K8sDqlite, Options::flags(&flags)).await;
    let api = server.api().await;
    for i in 0..100 {
        api.put(&format!("key/{}", i % 40), &format!("value {i}"))
            .await;
    }
    let all = || get_range(vec![0], vec![0]);
    let kvs = api.ask(all()).await.kvs;
    let revision = api.revision().await;
    drop(api);
    assert!(server.terminate().await.success());

    let (copy, _) = restored(&url, &with_key).await;
    let api = copy.api().await;
    assert_eq!(api.revision().await, revision);
    assert_eq!(api.ask(all()).await.kvs, kvs);

    let from = ["--from", &url, "--dry-run"];
    let refused = restore(&[&from[..], &without_key].concat());
    let said = text(&refused.stderr);
    assert!(
        said.contains("encrypted: give --archive-key-file"),
        "{said}"
    );
    assert_eq!(refused.status.code(), Some(3));
}
