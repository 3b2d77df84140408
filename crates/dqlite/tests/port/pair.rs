//! Key pairs as a cluster has them: a self-signed certificate that is its own authority.

use std::fs;
use std::path::{Path, PathBuf};

use dqlite::tls::{Tls, TlsOptions, TlsVersion};
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};
use tempfile::TempDir;

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
    let curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&curve).unwrap()).unwrap()
}

/// Makes a certificate as `config/csr-dqlite.conf.template` asks for it: no authority, usable on
/// both sides.
fn certificate(key: &PKey<Private>, dns: &[&str], ips: &[&str]) -> X509 {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_nid(Nid::COMMONNAME, "k8s").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder
        .set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::days_from_now(2).unwrap())
        .unwrap();
    builder.set_pubkey(key).unwrap();
    builder
        .append_extension(BasicConstraints::new().build().unwrap())
        .unwrap();
    let usage = ExtendedKeyUsage::new()
        .server_auth()
        .client_auth()
        .build()
        .unwrap();
    builder.append_extension(usage).unwrap();
    if !dns.is_empty() || !ips.is_empty() {
        let mut names = SubjectAlternativeName::new();
        for name in dns {
            names.dns(name);
        }
        for ip in ips {
            names.ip(ip);
        }
        let names = names.build(&builder.x509v3_context(None, None)).unwrap();
        builder.append_extension(names).unwrap();
    }
    builder.sign(key, MessageDigest::sha256()).unwrap();
    builder.build()
}
