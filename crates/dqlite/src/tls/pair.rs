//! The files of a key pair.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bytes::Bytes;
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;

use super::{TlsError, contexts};

/// A certificate file holds a few KiB; more than this, in bytes, is some other file.
const MAX_PEM_BYTES: u64 = 1 << 20;

const DAY_S: i64 = 24 * 3600;

/// The mark that tells certificates apart: the SHA-256 of the DER form. Empty where OpenSSL cannot make it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Fingerprint(Vec<u8>);

impl Fingerprint {
    pub fn of(certificate: &X509) -> Self {
        let digest = certificate.digest(MessageDigest::sha256());
        Self(digest.map(|digest| digest.to_vec()).unwrap_or_default())
    }

    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the bytes as messages carry them.
    pub fn to_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }
}

/// In the form of `openssl x509 -fingerprint -sha256`.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let colon = if at == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

/// A certificate, its chain and its key.
pub struct Pair {
    /// Never empty; the pair's own certificate is the first.
    certificates: Vec<X509>,
    key: PKey<Private>,
}

impl Pair {
    pub fn load(certificate: &Path, key: &Path) -> Result<Pair, TlsError> {
        let certificate_pem = read(certificate)?;
        // Before the key is looked for: of two wrong files, the first is named.
        parse_certificates(certificate, &certificate_pem)?;
        Self::from_pem((certificate, &certificate_pem), (key, &read(key)?))
    }

    /// Parses the two files' contents, in PEM. The paths are for errors.
    pub fn from_pem(
        (certificate, certificate_pem): (&Path, &[u8]),
        (key, key_pem): (&Path, &[u8]),
    ) -> Result<Pair, TlsError> {
        let certificates = parse_certificates(certificate, certificate_pem)?;
        let own = &certificates[0];
        let private = parse_key(key, key_pem)?;
        if !own
            .public_key()
            .is_ok_and(|public| public.public_eq(&private))
        {
            let (certificate, key) = (certificate.to_owned(), key.to_owned());
            return Err(TlsError::Mismatch { certificate, key });
        }
        Ok(Pair {
            certificates,
            key: private,
        })
    }

    pub fn certificate(&self) -> &X509 {
        &self.certificates[0]
    }

    /// The certificates after the first.
    pub fn chain(&self) -> &[X509] {
        &self.certificates[1..]
    }

    pub fn all(&self) -> &[X509] {
        &self.certificates
    }

    pub fn key(&self) -> &PKey<Private> {
        &self.key
    }

    /// Returns the time at which the first of the certificates expires, in seconds since 1970.
    pub fn expires_s(&self) -> Result<i64, ErrorStack> {
        let mut earliest = i64::MAX;
        for certificate in &self.certificates {
            earliest = earliest.min(unix_s(certificate.not_after())?);
        }
        Ok(earliest)
    }

    /// Returns when the pair's own certificate begins and ends to be valid, in seconds since 1970.
    pub fn valid_s(&self) -> Result<(i64, i64), ErrorStack> {
        let own = self.certificate();
        Ok((unix_s(own.not_before())?, unix_s(own.not_after())?))
    }

    /// Returns whether nodes with this pair alone let in whoever shows the other one: by an authority that both have, say.
    pub fn lets_in(&self, other: &Pair) -> Result<bool, TlsError> {
        contexts::covers(self.all(), other.certificate(), other.chain()).map_err(TlsError::Refused)
    }

    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.certificate())
    }

    pub fn first_dns_name(&self) -> Option<String> {
        dns_name(self.certificate())
    }
}

pub(super) fn unix_s(time: &Asn1TimeRef) -> Result<i64, ErrorStack> {
    let since = Asn1Time::from_unix(0)?.diff(time)?;
    Ok(i64::from(since.days) * DAY_S + i64::from(since.secs))
}

pub(super) fn dns_name(certificate: &X509) -> Option<String> {
    let names = certificate.subject_alt_names()?;
    names
        .iter()
        .find_map(|name| name.dnsname().map(str::to_owned))
}

/// The certificates of a file, at least one.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<X509>, TlsError> {
    parse_certificates(path, &read(path)?)
}

fn parse_certificates(path: &Path, pem: &[u8]) -> Result<Vec<X509>, TlsError> {
    let certificates = X509::stack_from_pem(pem).unwrap_or_default();
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate {
            path: path.to_owned(),
        });
    }
    Ok(certificates)
}

fn parse_key(path: &Path, pem: &[u8]) -> Result<PKey<Private>, TlsError> {
    let mut encrypted = false;
    // Without a callback OpenSSL would ask on the terminal.
    let key = PKey::private_key_from_pem_callback(pem, |_passphrase| {
        encrypted = true;
        Ok(0)
    });
    key.map_err(|_| match encrypted {
        true => TlsError::EncryptedKey {
            path: path.to_owned(),
        },
        false => TlsError::NoKey {
            path: path.to_owned(),
        },
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |source| TlsError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut pem = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    let read = file
        .take(MAX_PEM_BYTES + 1)
        .read_to_end(&mut pem)
        .map_err(unreadable)?;
    if read as u64 > MAX_PEM_BYTES {
        return Err(unreadable(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(pem)
}
