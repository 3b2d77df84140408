//! `cluster.crt` and `cluster.key` of the storage directory, and what says that they are being replaced.

use std::{io::ErrorKind, path::Path};

use dqlite::tls::{ROTATION_FILE, Rotation, Tls, TlsError, TlsOptions, TlsVersion};

use super::ConfigError;

pub const CERTIFICATE: &str = "cluster.crt";
pub const KEY: &str = "cluster.key";

/// The remedy for a pair of the nodes that expires soon.
pub const RENEW_PAIR: &str =
    "`k8s-dqlite certs rotate` on one node replaces the pair of all nodes while they run";

/// The remedy for one that has expired: with different pairs nodes do not reach each other.
pub const REPLACE_PAIR: &str = "stop all nodes, put the same new cluster.crt and cluster.key into the storage directories of all, and \
                                start them";

/// The pair of the nodes. While it is replaced, what a crash has left in the two files does not matter.
pub fn load(dir: &Path, min_version: TlsVersion) -> Result<Tls, ConfigError> {
    if let Some(rotation) = rotation(dir)? {
        let pair = rotation.files().open("cluster-rotation.yaml");
        return pair
            .and_then(|pair| Tls::of_pair(&pair, min_version))
            .map_err(ConfigError::Tls);
    }
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

/// Returns how far the replacement of the pair has come; `None` where it is not being replaced. Fails if somebody has
/// put another pair into the directory meanwhile.
pub fn rotation(dir: &Path) -> Result<Option<Rotation>, ConfigError> {
    let Some(rotation) = Rotation::read(dir)? else {
        return Ok(None);
    };
    let key = dir.join(KEY);
    let is_foreign = rotation.is_foreign(dir);
    match is_foreign.map_err(|source| ConfigError::Unreadable { path: key, source })? {
        false => Ok(Some(rotation)),
        true => Err(ConfigError::Invalid {
            path: dir.join(ROTATION_FILE),
            reason: "cluster.key was replaced by hand while `k8s-dqlite certs rotate` was under way: delete this file to \
                     go on with cluster.crt and cluster.key as they are, or put the former ones back"
                .to_owned(),
        }),
    }
}

/// Finishes what a crash cut short while the pair was replaced. The caller has locked the directory.
pub fn settle(dir: &Path) -> Result<(), ConfigError> {
    let Some(rotation) = rotation(dir)? else {
        return Ok(());
    };
    rotation
        .settle(dir)
        .map_err(|source| ConfigError::Unwritable {
            path: dir.join(CERTIFICATE),
            source,
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
