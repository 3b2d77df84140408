//! The key pair that all nodes of the datastore share: it is the certificate of servers and clients, and the one that
//! both trust.

use std::path::Path;

use dqlite::tls::{NewPair, Pair, Rotation, Tls, TlsVersion};
use openssl::error::ErrorStack;

use crate::{
    Error,
    certificate::{PemPair, parse},
};

const DAY_S: i64 = 24 * 3600;

/// The validity of the certificate, as in k8s-snap: replacing the pair needs all nodes at once.
const VALID_S: i64 = 20 * 365 * DAY_S;

/// Clocks of nodes differ a little.
const SKEW_S: i64 = 60;

/// Makes a pair for `name`, which is the server name that nodes ask each other for, and the host of the first node.
/// Takes a second or more.
pub fn generate(name: &str, host: &str, now_s: i64) -> Result<PemPair, ErrorStack> {
    let valid_s = (now_s - SKEW_S, now_s + VALID_S);
    let NewPair { certificate, key } = NewPair::generate(name, &[host], valid_s)?;
    let text = |pem: Vec<u8>| String::from_utf8_lossy(&pem).into_owned();
    Ok(PemPair {
        certificate: text(certificate),
        key: text(key),
    })
}

/// Reads the pair of a storage directory. Fails while it is on its way to another one.
pub fn read(dir: &Path) -> Result<PemPair, Error> {
    if Rotation::read(dir)?.is_some() {
        return Err(Error::Conflict(format!(
            "the pair of {} is being replaced: finish that with `k8s-dqlite certs rotate` first",
            dir.display()
        )));
    }
    let pair = dqlite::tls::PemPair::read(dir).map_err(Error::file(dir))?;
    let pair = PemPair {
        certificate: pair.certificate,
        key: pair.key,
    };
    check(&pair)?;
    Ok(pair)
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
