//! `k8s-dqlite recover`: back from a lost majority, and from a damaged directory.

mod addresses;
mod damage;
mod majority;
mod older_copy;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const REFUSED: i32 = 12;

fn recover<S: AsRef<std::ffi::OsStr>>(dirs: &[S], flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_k8s-dqlite"));
    command.arg("recover").args(dirs).args(flags);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The backup beside a directory.
fn backup_of(dir: &Path) -> Option<PathBuf> {
    let prefix = format!("{}.backup-", dir.file_name().unwrap().to_str().unwrap());
    let mut found = std::fs::read_dir(dir.parent().unwrap()).unwrap();
    found.find_map(|entry| {
        let entry = entry.unwrap();
        let is_it = entry.file_name().to_str().unwrap().starts_with(&prefix);
        is_it.then(|| entry.path())
    })
}
