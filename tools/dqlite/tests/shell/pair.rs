//! Certificates, good and bad.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use dqlite::tls::{CertificateBuilder, new_key};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::x509::extension::BasicConstraints;

const VALID_S: i64 = 2 * 24 * 3600;

/// The difference from a good pair.
#[derive(Default, Clone, Copy)]
pub struct Flaw {
    pub has_expired: bool,
    /// There is only an address.
    pub lacks_name: bool,
}

/// A certificate and its key in files.
#[derive(Clone)]
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Pair {
    /// Makes a pair as a cluster has it: self-signed, with a DNS name and the address of loopback.
    pub fn make(dir: &Path, flaw: Flaw) -> Pair {
        let key = new_key(Nid::X9_62_PRIME256V1).unwrap();
        let end_s = match flaw.has_expired {
            // A day in 2001.
            true => 1_000_000_000,
            false => UNIX_EPOCH.elapsed().unwrap().as_secs() as i64 + VALID_S,
        };
        let names: &[&str] = if flaw.lacks_name { &[] } else { &["node"] };
        let constraints = BasicConstraints::new().critical().ca().build().unwrap();
        let subject = [(Nid::COMMONNAME, "k8s")];
        let certificate = CertificateBuilder::new(&subject, &key, (900_000_000, end_s))
            .and_then(|builder| builder.with(constraints))
            .and_then(|builder| builder.with_names(names, &["127.0.0.1"]))
            .and_then(|builder| builder.sign_itself(MessageDigest::sha256()))
            .unwrap();
        fs::create_dir_all(dir).unwrap();
        let pair = Pair {
            certificate: dir.join("cluster.crt"),
            key: dir.join("cluster.key"),
        };
        fs::write(&pair.certificate, certificate.to_pem().unwrap()).unwrap();
        fs::write(&pair.key, key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        pair
    }
}
