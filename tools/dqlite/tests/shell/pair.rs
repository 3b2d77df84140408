//! Certificates, good and bad.

use std::fs;
use std::path::{Path, PathBuf};

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};

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
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_text("CN", "k8s").unwrap();
        let name = name.build();
        let mut certificate = X509::builder().unwrap();
        certificate.set_version(2).unwrap();
        let serial = BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap();
        certificate.set_serial_number(&serial).unwrap();
        certificate.set_subject_name(&name).unwrap();
        certificate.set_issuer_name(&name).unwrap();
        certificate.set_pubkey(&key).unwrap();
        let end = if flaw.has_expired {
            // A day in 2001.
            Asn1Time::from_unix(1_000_000_000).unwrap()
        } else {
            Asn1Time::days_from_now(2).unwrap()
        };
        certificate
            .set_not_before(&Asn1Time::from_unix(900_000_000).unwrap())
            .unwrap();
        certificate.set_not_after(&end).unwrap();
        let constraints = BasicConstraints::new().critical().ca().build().unwrap();
        certificate.append_extension(constraints).unwrap();
        let mut names = SubjectAlternativeName::new();
        names.ip("127.0.0.1");
        if !flaw.lacks_name {
            names.dns("node");
        }
        let names = names
            .build(&certificate.x509v3_context(None, None))
            .unwrap();
        certificate.append_extension(names).unwrap();
        certificate.sign(&key, MessageDigest::sha256()).unwrap();
        fs::create_dir_all(dir).unwrap();
        let pair = Pair {
            certificate: dir.join("cluster.crt"),
            key: dir.join("cluster.key"),
        };
        fs::write(&pair.certificate, certificate.build().to_pem().unwrap()).unwrap();
        fs::write(&pair.key, key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        pair
    }
}
