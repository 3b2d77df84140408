//! `cluster.crt` and `cluster.key` of the storage directory.

use std::{io::ErrorKind, path::Path};

use dqlite::tls::{Tls, TlsError, TlsOptions, TlsVersion};

use super::ConfigError;

pub const CERTIFICATE: &str = "cluster.crt";
pub const KEY: &str = "cluster.key";

/// The pair of the nodes.
pub fn load(dir: &Path, min_version: TlsVersion) -> Result<Tls, ConfigError> {
    let (certificate, key) = (dir.join(CERTIFICATE), dir.join(KEY));
    Tls::load(&TlsOptions {
        certificate,
        key,
        min_version,
    })
    .map_err(|error| match error {
        TlsError::Unreadable { path, source } if source.kind() == ErrorKind::NotFound => {
            ConfigError::NoPair {
                path,
                dir: dir.to_owned(),
            }
        }
        error => ConfigError::Tls(error),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn load_error(dir: &Path) -> String {
        load(dir, TlsVersion::Tls12).unwrap_err().to_string()
    }

    #[test]
    fn a_missing_pair_says_how_to_make_one() {
        let dir = tempfile::tempdir().unwrap();
        let error = load_error(dir.path());
        assert!(error.contains("cluster.crt is missing"), "{error}");
        let line = format!(
            "-keyout {0}/cluster.key -out {0}/cluster.crt",
            dir.path().display()
        );
        assert!(
            error.contains(&line) && error.contains("--enable-tls=false"),
            "{error}"
        );
    }

    #[test]
    fn an_unusable_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(CERTIFICATE)).unwrap();
        let error = load_error(dir.path());
        assert!(
            error.contains("cannot read") && error.contains("/cluster.crt"),
            "{error}"
        );
        fs::remove_dir(dir.path().join(CERTIFICATE)).unwrap();
        fs::write(dir.path().join(CERTIFICATE), "no certificate").unwrap();
        let error = load_error(dir.path());
        assert!(
            error.contains("/cluster.crt holds no certificate"),
            "{error}"
        );
    }
}
