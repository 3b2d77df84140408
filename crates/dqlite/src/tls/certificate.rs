//! Makes certificates, of which OpenSSL wants to be told a dozen things each.

use std::net::IpAddr;

use openssl::{
    asn1::Asn1Time,
    bn::{BigNum, MsbOption},
    ec::{EcGroup, EcKey},
    error::ErrorStack,
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, PKeyRef, Private},
    x509::{
        X509, X509Builder, X509Extension, X509Name, X509NameBuilder, X509NameRef, X509Ref,
        extension::{AuthorityKeyIdentifier, SubjectAlternativeName, SubjectKeyIdentifier},
    },
};

/// X.509's version 3, which has extensions.
const VERSION: i32 = 2;

const SERIAL_BITS: i32 = 127;

/// A certificate that waits for its extensions and its signature.
pub struct CertificateBuilder<'a> {
    builder: X509Builder,
    subject: X509Name,
    key: &'a PKeyRef<Private>,
}

impl<'a> CertificateBuilder<'a> {
    /// Begins a certificate of this key with a random serial number, valid between two times in seconds since 1970.
    pub fn new(
        subject: &[(Nid, &str)],
        key: &'a PKeyRef<Private>,
        valid_s: (i64, i64),
    ) -> Result<Self, ErrorStack> {
        let mut name = X509NameBuilder::new()?;
        for (field, text) in subject {
            name.append_entry_by_nid(*field, text)?;
        }
        let subject = name.build();
        let mut serial = BigNum::new()?;
        serial.rand(SERIAL_BITS, MsbOption::MAYBE_ZERO, false)?;
        let mut builder = X509Builder::new()?;
        builder.set_version(VERSION)?;
        builder.set_serial_number(&*serial.to_asn1_integer()?)?;
        builder.set_subject_name(&subject)?;
        builder.set_not_before(&*Asn1Time::from_unix(valid_s.0)?)?;
        builder.set_not_after(&*Asn1Time::from_unix(valid_s.1)?)?;
        builder.set_pubkey(key)?;
        Ok(Self {
            builder,
            subject,
            key,
        })
    }

    pub fn with(mut self, extension: X509Extension) -> Result<Self, ErrorStack> {
        self.builder.append_extension(extension)?;
        Ok(self)
    }

    /// The names and addresses that it is for; none: it says nothing of them.
    pub fn with_names(self, dns: &[&str], ips: &[&str]) -> Result<Self, ErrorStack> {
        if dns.is_empty() && ips.is_empty() {
            return Ok(self);
        }
        let mut names = SubjectAlternativeName::new();
        for name in dns {
            names.dns(name);
        }
        for ip in ips {
            names.ip(ip);
        }
        let names = names.build(&self.builder.x509v3_context(None, None))?;
        self.with(names)
    }

    /// The identifiers of its key and of its issuer's, which for one that signs itself are the same.
    pub fn with_key_ids(self) -> Result<Self, ErrorStack> {
        let own = SubjectKeyIdentifier::new().build(&self.builder.x509v3_context(None, None))?;
        let signed = self.with(own)?;
        let issuer = AuthorityKeyIdentifier::new()
            .keyid(true)
            .build(&signed.builder.x509v3_context(None, None))?;
        signed.with(issuer)
    }

    /// Ends it with a signature of its own key.
    pub fn sign_itself(self, digest: MessageDigest) -> Result<X509, ErrorStack> {
        finish(self.builder, &self.subject, self.key, digest)
    }

    /// Ends it with the signature of an authority.
    pub fn sign_by(
        self,
        issuer: &X509Ref,
        key: &PKeyRef<Private>,
        digest: MessageDigest,
    ) -> Result<X509, ErrorStack> {
        finish(self.builder, issuer.subject_name(), key, digest)
    }
}

fn finish(
    mut builder: X509Builder,
    issuer: &X509NameRef,
    key: &PKeyRef<Private>,
    digest: MessageDigest,
) -> Result<X509, ErrorStack> {
    builder.set_issuer_name(issuer)?;
    builder.sign(key, digest)?;
    Ok(builder.build())
}

/// Returns whether a name is that of a host, and so fits the DNS name of a certificate and the name of a file.
pub fn is_host_name(name: &str) -> bool {
    let fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 255 && name.split('.').all(fits) && name.parse::<IpAddr>().is_err()
}

/// Makes a key on a curve.
pub fn new_key(curve: Nid) -> Result<PKey<Private>, ErrorStack> {
    PKey::from_ec_key(EcKey::generate(&*EcGroup::from_curve_name(curve)?)?)
}
