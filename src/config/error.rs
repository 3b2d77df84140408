//! The faults of the storage directory, and what to do about each.

use std::{
    io,
    path::{Path, PathBuf},
};

use dqlite::{files::FileError, tls::TlsError};

use etcd_state::auth::KeyError;

use crate::tls::ServerTlsError;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },

    #[error("cannot write {}: {source}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },

    /// Not YAML, or not of the right shape.
    #[error("{}{}: {message}", path.display(), line.map(|line| format!(", line {line}")).unwrap_or_default())]
    Malformed {
        path: PathBuf,
        line: Option<usize>,
        message: String,
    },

    #[error("{}: {reason}", path.display())]
    Invalid { path: PathBuf, reason: String },

    #[error("{}", how_to_begin(dir, *with_tls))]
    NotInitialised { dir: PathBuf, with_tls: bool },

    #[error(
        "the directory {} cannot become a new node, because it holds {name:?} beside init.yaml: to begin \
         anew, move that and all other data away; to go on with the data, delete init.yaml",
        dir.display()
    )]
    ForeignFile { dir: PathBuf, name: String },

    #[error(
        "{} is missing, which --enable-tls needs; make a pair, or start with --enable-tls=false:\n  {}",
        path.display(), make_pair(dir)
    )]
    NoPair { path: PathBuf, dir: PathBuf },

    #[error(transparent)]
    Tls(TlsError),

    /// An error in the keys of JSON web tokens.
    #[error("--auth-token: {0}")]
    AuthToken(KeyError),

    /// An error in the TLS settings of the etcd API.
    #[error(transparent)]
    ClientTls(#[from] ServerTlsError),

    #[error(transparent)]
    Files(#[from] FileError),
}

fn how_to_begin(dir: &Path, with_tls: bool) -> String {
    let tls = if with_tls { "" } else { " --enable-tls=false" };
    format!(
        "{} holds neither init.yaml nor the data of a node; to begin a new cluster of one node, run\n  \
         k8s-dqlite init --storage-dir {}{tls}\nand start again",
        dir.display(),
        quoted(dir)
    )
}

fn make_pair(dir: &Path) -> String {
    let dir = quoted(dir);
    format!(
        "openssl req -x509 -newkey rsa:4096 -nodes -days 3650 -subj /CN=k8s \
         -addext subjectAltName=DNS:k8s,IP:127.0.0.1 -keyout {dir}/cluster.key -out {dir}/cluster.crt"
    )
}

/// Quotes a path for a shell.
pub fn quoted(dir: &Path) -> String {
    let text = dir.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:".contains(c);
    if text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_start_is_answered_with_a_line_to_run() {
        let dir = PathBuf::from("/srv/my data");
        let text = ConfigError::NotInitialised {
            dir: dir.clone(),
            with_tls: true,
        }
        .to_string();
        assert!(
            text.contains("\n  k8s-dqlite init --storage-dir '/srv/my data'\n"),
            "{text}"
        );
        let text = ConfigError::NotInitialised {
            dir,
            with_tls: false,
        }
        .to_string();
        assert!(text.contains("data' --enable-tls=false\n"), "{text}");
    }
}
