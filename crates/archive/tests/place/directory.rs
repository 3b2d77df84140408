//! Directories.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use archive::place::{Place, PlaceError, PlaceOptions, open};
use bytes::Bytes;

use crate::behaviour;

fn place(dir: &Path) -> Place {
    open(
        &format!("file://{}", dir.display()),
        &PlaceOptions::default(),
    )
    .unwrap()
}

#[tokio::test]
async fn a_directory_is_a_place() {
    let dir = tempfile::tempdir().unwrap();
    behaviour::check(&place(dir.path())).await;
}

#[tokio::test]
async fn others_cannot_read_what_is_written_and_a_crash_leaves_nothing_that_counts() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    place
        .create("delta/1", Bytes::from_static(b"a"))
        .await
        .unwrap();
    let mode = |path: &str| {
        let found = fs::metadata(dir.path().join(path)).unwrap();
        found.permissions().mode() & 0o777
    };
    assert_eq!((mode("delta"), mode("delta/1")), (0o700, 0o600));
    fs::write(dir.path().join("delta/.part-2-00"), "left").unwrap();
    let upload = {
        let mut upload = place.upload("base/1");
        upload.write(&vec![0; 9 << 20]).await.unwrap();
        upload
    };
    drop(upload);
    assert_eq!(fs::read_dir(dir.path().join("base")).unwrap().count(), 0);
    place
        .create("delta/2", Bytes::from_static(b"b"))
        .await
        .unwrap();
    let left = fs::read_dir(dir.path().join("delta")).unwrap().count();
    assert_eq!(left, 3);
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("unmounted");
    let place = place(&missing);
    let created = place.create("delta/1", Bytes::from_static(b"a")).await;
    assert!(
        matches!(created, Err(PlaceError::NoPlace { .. })),
        "{created:?}"
    );
    let listed = futures_util::StreamExt::next(&mut place.list("delta", None)).await;
    assert!(
        matches!(listed, Some(Err(PlaceError::NoPlace { .. }))),
        "{listed:?}"
    );
    assert!(!missing.exists());
}

/// Unmounts what the test mounted.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_leaves_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
        .arg(dir.path())
        .output();
    if !mount.is_ok_and(|done| done.status.success()) {
        eprintln!("skipped: this user cannot mount, so no disk was full");
        return;
    }
    let _mounted = Mounted(dir.path());
    let place = place(dir.path());
    place
        .create("delta/1", Bytes::from_static(b"a"))
        .await
        .unwrap();
    let large = Bytes::from(vec![1; 1 << 20]);
    let full = place.create("delta/2", large).await;
    assert!(matches!(full, Err(PlaceError::Full { .. })), "{full:?}");
    assert_eq!(&place.read("delta/1").await.unwrap()[..], b"a");
    // What was written of it is gone, so there is room again.
    assert_eq!(fs::read_dir(dir.path().join("delta")).unwrap().count(), 1);
    place
        .create("delta/2", Bytes::from(vec![2; 100 << 10]))
        .await
        .unwrap();
}
