//! Key pairs of the form that microcluster makes, and the parts of certificates.

use dqlite::tls::{CertificateBuilder, is_host_name, new_key};
use openssl::{
    asn1::Asn1Time,
    error::ErrorStack,
    hash::MessageDigest,
    nid::Nid,
    sha::sha256,
    x509::{
        X509,
        extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage},
    },
};

use crate::{
    Error,
    state::{PRIVATE, PUBLIC, StateDir, read, write},
};

const DAY_S: i64 = 24 * 3600;
const VALID_S: i64 = 3650 * DAY_S;

/// Clocks of nodes differ a little.
const SKEW_S: i64 = 60;

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct PemPair {
    pub certificate: String,
    pub key: String,
}

impl PemPair {
    pub fn new(certificate: &X509, key_pem: &[u8]) -> Result<Self, ErrorStack> {
        let text = |pem: &[u8]| String::from_utf8_lossy(pem).into_owned();
        Ok(Self {
            certificate: text(&certificate.to_pem()?),
            key: text(key_pem),
        })
    }
}

impl std::fmt::Debug for PemPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PemPair").finish_non_exhaustive()
    }
}

/// Makes a pair that signs itself: P-384, for `name` and the loop-back addresses.
pub fn generate(name: &str, now_s: i64) -> Result<PemPair, ErrorStack> {
    let key = new_key(Nid::SECP384R1)?;
    let common: String = format!("root@{name}").chars().take(64).collect();
    let subject = [(Nid::ORGANIZATIONNAME, "LXD"), (Nid::COMMONNAME, &common)];
    let usage = KeyUsage::new()
        .critical()
        .digital_signature()
        .key_encipherment()
        .build()?;
    let certificate = CertificateBuilder::new(&subject, &key, (now_s - SKEW_S, now_s + VALID_S))?
        .with(usage)?
        .with(ExtendedKeyUsage::new().server_auth().build()?)?
        .with(BasicConstraints::new().critical().build()?)?
        .with_names(&[name], &["127.0.0.1", "::1"])?
        .sign_itself(MessageDigest::sha384())?;
    PemPair::new(&certificate, &key.ec_key()?.private_key_to_pem()?)
}

/// The pair of this name in the directory.
pub fn load(state: &StateDir, name: &str) -> Result<Option<PemPair>, Error> {
    let (certificate, key) = state.pair(name);
    let pair = (read(&certificate)?, read(&key)?);
    let (Some(certificate), Some(key)) = pair else {
        return Ok(None);
    };
    Ok(Some(PemPair { certificate, key }))
}

/// The key first: a certificate without its key is a pair that is not there.
pub fn save(state: &StateDir, name: &str, pair: &PemPair) -> Result<(), Error> {
    let (certificate, key) = state.pair(name);
    write(&key, pair.key.as_bytes(), PRIVATE)?;
    write(&certificate, pair.certificate.as_bytes(), PUBLIC)
}

pub fn parse(pem: &str) -> Result<X509, Error> {
    X509::from_pem(pem.as_bytes())
        .map_err(|_| Error::Invalid("not a certificate in PEM".to_owned()))
}

/// Lower-case hexadecimal SHA-256 of the DER form.
pub fn fingerprint(certificate: &X509) -> Result<String, ErrorStack> {
    Ok(hex::encode(sha256(&certificate.to_der()?)))
}

pub fn has_dns_name(certificate: &X509, name: &str) -> bool {
    let names = certificate.subject_alt_names();
    names.is_some_and(|names| names.iter().any(|found| found.dnsname() == Some(name)))
}

pub fn is_valid_at(certificate: &X509, now_s: i64) -> bool {
    Asn1Time::from_unix(now_s)
        .is_ok_and(|now| certificate.not_before() <= &*now && certificate.not_after() >= &*now)
}

/// Fails unless the name fits a DNS name of a certificate and the name of a file.
pub fn check_name(name: &str) -> Result<(), Error> {
    match is_host_name(name) {
        true => Ok(()),
        false => Err(Error::Invalid(format!(
            "Invalid member name {name:?}: it must be a host name"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use openssl::pkey::PKey;

    use super::*;

    #[test]
    fn a_pair_has_microclusters_form() {
        let now_s = 1_700_000_000;
        let pair = generate("node1", now_s).unwrap();
        assert!(pair.key.starts_with("-----BEGIN EC PRIVATE KEY-----"));
        let certificate = parse(&pair.certificate).unwrap();
        assert!(has_dns_name(&certificate, "node1"));
        assert!(!has_dns_name(&certificate, "node2"));
        assert!(is_valid_at(&certificate, now_s));
        assert!(!is_valid_at(&certificate, now_s - 2 * SKEW_S));
        assert!(!is_valid_at(&certificate, now_s + VALID_S + 1));
        assert_eq!(fingerprint(&certificate).unwrap().len(), 64);
        let key = PKey::private_key_from_pem(pair.key.as_bytes()).unwrap();
        assert!(certificate.public_key().unwrap().public_eq(&key));
        assert!(!format!("{pair:?}").contains("BEGIN"));
    }

    #[test]
    fn names_are_those_of_hosts() {
        for name in ["node1", "a.b-c.d", "N1"] {
            check_name(name).unwrap();
        }
        let long = "a".repeat(64);
        for name in ["", "a/b", "..", "-a", "a_b", "10.0.0.1", &long, "a b"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }
}
