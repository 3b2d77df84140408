//! Key pairs as a cluster has them: a self-signed certificate that is its own authority.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use dqlite::tls::{CertificateBuilder, Tls, TlsOptions, TlsVersion};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage};
use tempfile::TempDir;

const VALID_S: i64 = 2 * 24 * 3600;

/// The clock by which OpenSSL judges is some milliseconds behind.
const SKEW_S: i64 = 60;

pub struct PairFiles {
    pub dir: TempDir,
}

impl PairFiles {
    /// A pair whose certificate carries these DNS names and IP addresses.
    pub fn new(dns: &[&str], ips: &[&str]) -> PairFiles {
        let files = PairFiles {
            dir: tempfile::tempdir().unwrap(),
        };
        let key = new_key();
        fs::write(
            files.certificate(),
            certificate(&key, dns, ips).to_pem().unwrap(),
        )
        .unwrap();
        fs::write(files.key(), key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        files
    }

    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("cluster.crt")
    }

    pub fn key(&self) -> PathBuf {
        self.dir.path().join("cluster.key")
    }

    pub fn options(&self) -> TlsOptions {
        options(&self.certificate(), &self.key())
    }

    pub fn load(&self) -> Tls {
        Tls::load(&self.options()).unwrap()
    }
}

pub fn options(certificate: &Path, key: &Path) -> TlsOptions {
    TlsOptions {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        min_version: TlsVersion::default(),
    }
}

pub fn new_key() -> PKey<Private> {
    dqlite::tls::new_key(Nid::X9_62_PRIME256V1).unwrap()
}

/// Makes a certificate as `config/csr-dqlite.conf.template` asks for it: no authority, usable on
/// both sides.
fn certificate(key: &PKey<Private>, dns: &[&str], ips: &[&str]) -> X509 {
    let now_s = UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    let usage = ExtendedKeyUsage::new().server_auth().client_auth().build();
    CertificateBuilder::new(
        &[(Nid::COMMONNAME, "k8s")],
        key,
        (now_s - SKEW_S, now_s + VALID_S),
    )
    .and_then(|builder| builder.with(BasicConstraints::new().build()?))
    .and_then(|builder| builder.with(usage?))
    .and_then(|builder| builder.with_names(dns, ips))
    .and_then(|builder| builder.sign_itself(MessageDigest::sha256()))
    .unwrap()
}
