//! `archive list`, `verify` and `prune`.

use std::{fs, process::Command};

use super::{Place, histories::Gapped, restored, text};
use crate::harness::*;

/// Runs a command on an archive. Returns its exit code, and what it printed.
fn archive(command: &str, place: &Place, flags: &[&str]) -> (i32, String) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_k8s-dqlite"));
    let program = program.args(["archive", command, &place.url()]);
    let output = program.args(flags).output().unwrap();
    let printed = text(&output.stdout) + &text(&output.stderr);
    (output.status.code().unwrap(), printed)
}

#[tokio::test]
async fn an_archive_is_listed_verified_and_thinned_out() {
    let place = Place::new();
    let gapped = Gapped::make(&place).await;
    let objects = place.objects();
    let deltas = objects.list().await.unwrap().deltas.len();
    let (code, printed) = archive("list", &place, &[]);
    let counts = format!("2 bases, {deltas} deltas");
    assert!(code == 0 && printed.contains(&counts), "{printed}");
    let (code, printed) = archive("verify", &place, &[]);
    assert!(code == 0 && printed.contains("whole: cluster"), "{printed}");
    let (first, last) = (gapped.before + 1, gapped.after - 1);
    let gap = format!("revisions {first} to {last} are not in it");
    assert!(printed.contains(&gap), "{printed}");

    // All is younger than the days that are kept.
    let (code, printed) = archive("prune", &place, &["--yes"]);
    let nothing = "0 bases and 0 deltas";
    assert!(code == 0 && printed.contains(nothing), "{printed}");
    let one = ["--keep-days", "0", "--keep-bases", "1"];
    let (code, printed) = archive("prune", &place, &one);
    let says = "may go; --yes removes them";
    assert!(code == 0 && printed.contains(says), "{printed}");
    assert!(printed.contains("1 bases and"), "{printed}");
    assert_eq!(objects.list().await.unwrap().deltas.len(), deltas);
    let (code, printed) = archive("prune", &place, &[&one[..], &["--yes"]].concat());
    assert!(code == 0 && printed.contains("were removed"), "{printed}");
    let listing = objects.list().await.unwrap();
    assert!(listing.deltas.len() < deltas);
    assert_eq!(listing.bases.len(), 1);
    let (code, printed) = archive("verify", &place, &[]);
    assert!(code == 0 && !printed.contains("not in it"), "{printed}");

    // The server goes on with it, and what is left is restored.
    let api = gapped.server.api().await;
    let later = api.put("later", "1").await;
    place.wait_for(later).await;
    let (copy, _) = restored(&place.url(), &[]).await;
    let all = || get_range(vec![0], vec![0]);
    let found = copy.api().await.ask(all()).await.kvs;
    assert_eq!(found, api.ask(all()).await.kvs);
    let (code, printed) = archive("verify", &place, &[]);
    assert_eq!(code, 0, "{printed}");
}

#[tokio::test]
async fn a_damaged_archive_is_told_by_the_exit_code() {
    let place = Place::new();
    let (code, printed) = archive("verify", &place, &[]);
    assert!(
        code == 6 && printed.contains("there is no base"),
        "{printed}"
    );
    let mut gapped = Gapped::make(&place).await;
    gapped.server.kill9();
    let listing = place.objects().list().await.unwrap();
    let deltas = listing.deltas.keys().map(ToString::to_string);
    let bases = listing.bases.keys().map(ToString::to_string);
    for name in deltas.chain(bases) {
        let path = place.path().join(&name);
        let content = fs::read(&path).unwrap();
        let mut damaged = content.clone();
        damaged[content.len() / 2] ^= 1;
        fs::write(&path, &damaged).unwrap();
        let (code, printed) = archive("verify", &place, &[]);
        assert!(code == 6 && printed.contains(&name), "{name}: {printed}");
        fs::write(&path, content).unwrap();
    }
    let (code, printed) = archive("verify", &place, &[]);
    let whole = format!("to {},", gapped.last);
    assert!(code == 0 && printed.contains(&whole), "{printed}");
}
