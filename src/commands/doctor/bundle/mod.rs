//! `--bundle`: a tar.gz for a bug report. Only files that are named here get into it, their texts without what
//! [`redact`] takes out; the engine's files, keys and values never do.

mod redact;
mod sources;

pub use self::sources::UNITS;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use tar::{Builder, Header};

use self::redact::redacted;
use command_line::Diagnosis;

use super::DoctorError;
use crate::{args::Args, cluster::status::Report};

/// Bytes of one text in the bundle: its end is kept.
const MAX_TEXT_BYTES: usize = 16 * 1024 * 1024;

/// Files of settings in a storage directory, none of which has a secret.
const SETTINGS: [&str; 7] = [
    "info.yaml",
    "cluster.yaml",
    "cluster-id.yaml",
    "init.yaml",
    "update.yaml",
    "tuning.yaml",
    "failure-domain",
];

/// The sources of the bundle.
pub struct Bundled<'a> {
    pub args: &'a Args,
    /// Files of the server's log.
    pub logs: &'a [PathBuf],
    pub diagnosis: &'a Diagnosis,
    pub report: Option<&'a Report>,
    /// True if the server runs.
    pub runs: bool,
}

/// Writes the bundle to a new file, which only its owner may read.
pub async fn write(path: &Path, bundled: &Bundled<'_>) -> Result<(), DoctorError> {
    let unwritable = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => DoctorError::Exists(path.to_owned()),
        _ => DoctorError::Unwritable {
            path: path.to_owned(),
            source,
        },
    };
    let texts = texts(bundled).await;
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(unwritable)?;
    let written = pack(file, &texts);
    if written.is_err() {
        // Half a bundle is of no use.
        let _ = fs::remove_file(path);
    }
    written.map_err(unwritable)
}

/// Returns the names and texts of the files, without secrets.
async fn texts(bundled: &Bundled<'_>) -> Vec<(String, String)> {
    let (args, dir) = (bundled.args, bundled.args.storage_dir.as_path());
    let mut texts = vec![
        ("doctor.txt".to_owned(), bundled.diagnosis.to_string()),
        ("doctor.json".to_owned(), json(bundled.diagnosis)),
        ("versions.txt".to_owned(), sources::versions()),
        ("machine.txt".to_owned(), sources::machine()),
        ("flags.txt".to_owned(), sources::flags(args)),
        ("directory.txt".to_owned(), sources::listing(dir)),
    ];
    if let Some(report) = bundled.report {
        texts.push(("status.json".to_owned(), json(report)));
    }
    for name in SETTINGS {
        if let Ok(text) = sources::tail_of_own(&dir.join(name), MAX_TEXT_BYTES) {
            texts.push((format!("settings/{name}"), text));
        }
    }
    texts.extend(sources::certificates(args));
    if bundled.runs {
        texts.push(("metrics.txt".to_owned(), sources::metrics(args).await));
    }
    texts.push((
        "journal.txt".to_owned(),
        sources::journal(MAX_TEXT_BYTES).await,
    ));
    for (number, path) in bundled.logs.iter().enumerate() {
        let text = sources::tail(path, MAX_TEXT_BYTES);
        let text =
            text.unwrap_or_else(|error| format!("cannot read {}: {error}\n", path.display()));
        texts.push((format!("log-{number}.txt"), text));
    }
    let dirs = [dir];
    for (_, text) in &mut texts {
        *text = redacted(text, &dirs);
    }
    texts
}

fn json(document: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(document).expect("it has string keys") + "\n"
}

fn pack(file: File, texts: &[(String, String)]) -> io::Result<()> {
    let mut archive = Builder::new(GzEncoder::new(file, Compression::default()));
    for (name, text) in texts {
        let mut header = Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        archive.append_data(&mut header, format!("k8s-dqlite/{name}"), text.as_bytes())?;
    }
    let mut file = archive.into_inner()?.finish()?;
    file.flush()?;
    file.sync_all()
}
