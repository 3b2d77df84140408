//! The pair that all nodes of the datastore share: certificate of servers, of clients, and what both trust.

use std::{net::IpAddr, path::Path};

use dqlite::tls::{Pair, Tls, TlsVersion};
use openssl::{
    asn1::Asn1Time,
    bn::{BigNum, MsbOption},
    error::ErrorStack,
    hash::MessageDigest,
    pkey::PKey,
    rsa::Rsa,
    x509::{
        X509Builder, X509NameBuilder,
        extension::{
            AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage,
            SubjectAlternativeName, SubjectKeyIdentifier,
        },
    },
};

use crate::{
    Error,
    certificate::{PemPair, check_name, parse},
};

/// The size of the key, as in scripts/certs.
const KEY_BITS: u32 = 4096;

const DAY_S: i64 = 24 * 3600;

/// The validity of the certificate, as in k8s-snap: replacing the pair needs all nodes at once.
const VALID_S: i64 = 20 * 365 * DAY_S;

/// Clocks of nodes differ a little.
const SKEW_S: i64 = 60;

/// Makes a pair for `name`, which is the server name that nodes ask each other for, and the host of the first node.
/// Takes a second or more.
pub fn generate(name: &str, host: &str, now_s: i64) -> Result<PemPair, ErrorStack> {
    let key = PKey::from_rsa(Rsa::generate(KEY_BITS)?)?;
    let mut subject = X509NameBuilder::new()?;
    subject.append_entry_by_text("CN", "k8s")?;
    let subject = subject.build();
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::MAYBE_ZERO, false)?;
    let mut builder = X509Builder::new()?;
    builder.set_version(2)?;
    builder.set_serial_number(&*serial.to_asn1_integer()?)?;
    builder.set_subject_name(&subject)?;
    builder.set_issuer_name(&subject)?;
    builder.set_not_before(&*Asn1Time::from_unix(now_s - SKEW_S)?)?;
    builder.set_not_after(&*Asn1Time::from_unix(now_s + VALID_S)?)?;
    builder.set_pubkey(&key)?;
    let usage = KeyUsage::new()
        .critical()
        .digital_signature()
        .key_encipherment()
        .data_encipherment()
        .build()?;
    builder.append_extension(usage)?;
    let both_sides = ExtendedKeyUsage::new()
        .server_auth()
        .client_auth()
        .build()?;
    builder.append_extension(both_sides)?;
    builder.append_extension(BasicConstraints::new().build()?)?;
    let own_id = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
    builder.append_extension(own_id)?;
    let issuer_id = AuthorityKeyIdentifier::new()
        .keyid(true)
        .build(&builder.x509v3_context(None, None))?;
    builder.append_extension(issuer_id)?;
    let mut names = SubjectAlternativeName::new();
    names.dns(name).dns("localhost");
    names.ip("127.0.0.1").ip("::1");
    match host.parse::<IpAddr>() {
        Ok(ip) if !ip.is_loopback() => drop(names.ip(host)),
        Ok(_) => {}
        Err(_) => {
            if check_name(host).is_ok() && host != name {
                names.dns(host);
            }
        }
    }
    let names = names.build(&builder.x509v3_context(None, None))?;
    builder.append_extension(names)?;
    builder.sign(&key, MessageDigest::sha256())?;
    let text = |pem: Vec<u8>| String::from_utf8(pem).expect("PEM is ASCII");
    Ok(PemPair {
        certificate: text(builder.build().to_pem()?),
        key: text(key.private_key_to_pem_pkcs8()?),
    })
}

fn open(pair: &PemPair) -> Result<Pair, Error> {
    let named = |name| Path::new("the datastore's").join(name);
    let (certificate, key) = (named("cluster.crt"), named("cluster.key"));
    Ok(Pair::from_pem(
        (&certificate, pair.certificate.as_bytes()),
        (&key, pair.key.as_bytes()),
    )?)
}

/// Fails unless certificate and key are a valid pair.
pub fn check(pair: &PemPair) -> Result<(), Error> {
    open(pair).map(drop)
}

/// The server has the same oldest version.
pub fn tls(pair: &PemPair) -> Result<Tls, Error> {
    Ok(Tls::of_pair(&open(pair)?, TlsVersion::Tls12)?)
}

/// Whoever has the same certificate has the same key.
pub fn is_same(one: &PemPair, other: &PemPair) -> Result<bool, Error> {
    let der = |pair: &PemPair| Ok::<_, Error>(parse(&pair.certificate)?.to_der()?);
    Ok(der(one)? == der(other)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::is_valid_at;

    #[test]
    fn a_pair_is_for_both_sides_and_for_twenty_years() {
        let now_s = 1_700_000_000;
        let pair = generate("node1", "10.0.0.1", now_s).unwrap();
        check(&pair).unwrap();
        assert_eq!(
            open(&pair).unwrap().first_dns_name().as_deref(),
            Some("node1"),
            "nodes ask each other for the first name"
        );
        let certificate = parse(&pair.certificate).unwrap();
        assert!(is_valid_at(&certificate, now_s + VALID_S - 1));
        assert!(!is_valid_at(&certificate, now_s + VALID_S + 1));
        let names = certificate.subject_alt_names().unwrap();
        assert!(names.iter().any(|n| n.ipaddress() == Some(&[10, 0, 0, 1])));
        tls(&pair).unwrap();
        let other = generate("node1", "node1.example", now_s).unwrap();
        assert!(is_same(&pair, &pair).unwrap());
        assert!(!is_same(&pair, &other).unwrap());
        let mixed = PemPair {
            key: other.key,
            ..pair
        };
        assert!(check(&mixed).is_err());
    }
}
