//! `cluster.crt` and `cluster.key`: one pair for all nodes, which is their CA as well.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use openssl::{
    asn1::Asn1Time,
    error::ErrorStack,
    pkey::{PKey, Private},
    x509::X509,
};

use super::ConfigError;
use crate::args::TlsVersion;

const CERTIFICATE: &str = "cluster.crt";
const KEY: &str = "cluster.key";

/// A certificate and a key that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsPair {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub min_version: TlsVersion,
}

pub(super) fn check(
    dir: &Path,
    min_version: TlsVersion,
    warnings: &mut Vec<String>,
) -> Result<TlsPair, ConfigError> {
    let pair = TlsPair {
        certificate: dir.join(CERTIFICATE),
        key: dir.join(KEY),
        min_version,
    };
    let certificate = certificate(&pair.certificate, &read(dir, &pair.certificate)?)?;
    let key = key(&pair.key, &read(dir, &pair.key)?)?;
    let belongs = certificate
        .public_key()
        .is_ok_and(|public| public.public_eq(&key));
    if !belongs {
        let reason = format!("is not the key of {}: copy both from one node", CERTIFICATE);
        return Err(ConfigError::Invalid {
            path: pair.key,
            reason,
        });
    }
    warnings.extend(validity_warning(&pair.certificate, &certificate));
    Ok(pair)
}

fn read(dir: &Path, path: &Path) -> Result<Vec<u8>, ConfigError> {
    fs::read(path).map_err(|source| {
        let path = path.to_owned();
        if source.kind() == ErrorKind::NotFound {
            return ConfigError::NoPair {
                path,
                dir: dir.to_owned(),
            };
        }
        ConfigError::Unreadable { path, source }
    })
}

fn certificate(path: &Path, pem: &[u8]) -> Result<X509, ConfigError> {
    let first = X509::stack_from_pem(pem)
        .ok()
        .and_then(|stack| stack.into_iter().next());
    first.ok_or_else(|| ConfigError::Invalid {
        path: path.to_owned(),
        reason: "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)".to_owned(),
    })
}

fn key(path: &Path, pem: &[u8]) -> Result<PKey<Private>, ConfigError> {
    // Without this callback, openssl would ask for the passphrase on the terminal.
    let mut is_encrypted = false;
    let key = PKey::private_key_from_pem_callback(pem, |_| {
        is_encrypted = true;
        Err(ErrorStack::get())
    });
    key.map_err(|_| ConfigError::Invalid {
        path: path.to_owned(),
        reason: if is_encrypted {
            "the private key has a passphrase: remove it with openssl pkey".to_owned()
        } else {
            "holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)".to_owned()
        },
    })
}

/// A single node starts with any certificate; another one would not talk to it.
fn validity_warning(path: &Path, certificate: &X509) -> Option<String> {
    let now = Asn1Time::days_from_now(0).ok()?;
    if certificate.not_after() < now {
        let end = certificate.not_after();
        return Some(format!(
            "{}: the certificate expired on {end}",
            path.display()
        ));
    }
    if certificate.not_before() > now {
        let begin = certificate.not_before();
        return Some(format!(
            "{}: the certificate is not valid before {begin}",
            path.display()
        ));
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use openssl::{
        ec::{EcGroup, EcKey},
        hash::MessageDigest,
        nid::Nid,
        symm::Cipher,
        x509::X509NameBuilder,
    };

    use super::*;

    fn new_key() -> PKey<Private> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
    }

    fn new_certificate(key: &PKey<Private>, not_after: &Asn1Time) -> X509 {
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_text("CN", "k8s").unwrap();
        let name = name.build();
        let mut builder = X509::builder().unwrap();
        builder.set_subject_name(&name).unwrap();
        builder.set_issuer_name(&name).unwrap();
        builder
            .set_not_before(&Asn1Time::from_unix(0).unwrap())
            .unwrap();
        builder.set_not_after(not_after).unwrap();
        builder.set_pubkey(key).unwrap();
        builder.sign(key, MessageDigest::sha256()).unwrap();
        builder.build()
    }

    /// Writes a valid pair.
    pub(in crate::config) fn write_pair(dir: &Path) {
        let key = new_key();
        let certificate = new_certificate(&key, &Asn1Time::days_from_now(1).unwrap());
        fs::write(dir.join(CERTIFICATE), certificate.to_pem().unwrap()).unwrap();
        fs::write(dir.join(KEY), key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    }

    fn check_error(dir: &Path) -> String {
        check(dir, TlsVersion::Tls12, &mut Vec::new())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_pair_that_belongs_together_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        write_pair(dir.path());
        let mut warnings = Vec::new();
        let pair = check(dir.path(), TlsVersion::Tls13, &mut warnings).unwrap();
        assert_eq!(pair.certificate, dir.path().join(CERTIFICATE));
        assert_eq!(pair.min_version, TlsVersion::Tls13);
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    #[test]
    fn a_missing_half_says_how_to_make_a_pair() {
        let dir = tempfile::tempdir().unwrap();
        let error = check_error(dir.path());
        assert!(
            error.contains("cluster.crt is missing") && error.contains("openssl req"),
            "{error}"
        );
        write_pair(dir.path());
        fs::remove_file(dir.path().join(KEY)).unwrap();
        let error = check_error(dir.path());
        assert!(error.contains("cluster.key is missing"), "{error}");
    }

    #[test]
    fn an_unreadable_or_foreign_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        write_pair(dir.path());
        fs::write(dir.path().join(KEY), "no key").unwrap();
        let error = check_error(dir.path());
        assert!(
            error.contains("cluster.key: holds no private key"),
            "{error}"
        );
        let encrypted = new_key()
            .private_key_to_pem_pkcs8_passphrase(Cipher::aes_128_cbc(), b"secret")
            .unwrap();
        fs::write(dir.path().join(KEY), encrypted).unwrap();
        let error = check_error(dir.path());
        assert!(
            error.contains("cluster.key: the private key has a passphrase"),
            "{error}"
        );
        fs::write(dir.path().join(CERTIFICATE), "").unwrap();
        let error = check_error(dir.path());
        assert!(
            error.contains("cluster.crt: holds no certificate"),
            "{error}"
        );
        fs::remove_file(dir.path().join(CERTIFICATE)).unwrap();
        fs::create_dir(dir.path().join(CERTIFICATE)).unwrap();
        let error = check_error(dir.path());
        assert!(
            error.contains("cannot read") && error.contains("cluster.crt"),
            "{error}"
        );
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        write_pair(dir.path());
        let other = new_key().private_key_to_pem_pkcs8().unwrap();
        fs::write(dir.path().join(KEY), other).unwrap();
        let error = check_error(dir.path());
        assert!(
            error.contains("cluster.key: is not the key of cluster.crt"),
            "{error}"
        );
    }

    #[test]
    fn an_expired_certificate_is_warned_of() {
        let dir = tempfile::tempdir().unwrap();
        let key = new_key();
        let certificate = new_certificate(&key, &Asn1Time::from_unix(1_000_000_000).unwrap());
        fs::write(dir.path().join(CERTIFICATE), certificate.to_pem().unwrap()).unwrap();
        fs::write(
            dir.path().join(KEY),
            key.private_key_to_pem_pkcs8().unwrap(),
        )
        .unwrap();
        let mut warnings = Vec::new();
        check(dir.path(), TlsVersion::Tls12, &mut warnings).unwrap();
        assert!(
            warnings.join("").contains("expired on Sep  9"),
            "{warnings:?}"
        );
    }
}
