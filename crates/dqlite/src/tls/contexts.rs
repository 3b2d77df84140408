//! The settings of handshakes of both sides: one pair, and the certificates that are trusted.

use std::net::IpAddr;

use openssl::error::ErrorStack;
use openssl::ssl::{
    Ssl, SslContext, SslContextBuilder, SslMethod, SslOptions, SslRef, SslSessionCacheMode,
    SslVerifyMode,
};
use openssl::stack::Stack;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::{X509CheckFlags, X509VerifyFlags};
use openssl::x509::{X509, X509StoreContext, X509StoreContextRef, X509VerifyResult};

use super::{Pair, TlsError, TlsVersion};

/// OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH: all is well but the name.
const OTHER_NAME: [i32; 2] = [62, 64];

pub(super) struct Contexts {
    pub server: SslContext,
    pub client: SslContext,
    /// The name in the server's certificate; `None` for the dialled host.
    pub server_name: Option<String>,
    pub shown: X509,
    pub trusted: Vec<X509>,
    store: X509Store,
    pub min_version: TlsVersion,
}

impl Contexts {
    pub fn build(
        pair: &Pair,
        trusted: &[X509],
        server_name: Option<String>,
        min_version: TlsVersion,
    ) -> Result<Self, TlsError> {
        let context = |side| build(pair, trusted, side, min_version).map_err(TlsError::Refused);
        Ok(Self {
            server: context(Side::Server)?,
            client: context(Side::Client)?,
            server_name,
            shown: pair.certificate().clone(),
            trusted: trusted.to_vec(),
            store: store(trusted).map_err(TlsError::Refused)?,
            min_version,
        })
    }

    /// Returns whether a certificate, without its chain, is accepted now.
    pub fn trusts(&self, certificate: &X509) -> bool {
        verify(&self.store, certificate, &[]).unwrap_or(false)
    }

    /// While a pair is replaced, a node may show the other of the two, which may be for other names: that very certificate
    /// will do.
    pub fn accept_others(&self, ssl: &mut SslRef) {
        let others = self.trusted.iter().filter(|other| **other != self.shown);
        let others: Vec<X509> = others.cloned().collect();
        if !others.is_empty() {
            ssl.set_verify_callback(SslVerifyMode::PEER, move |is_valid, context| {
                is_valid || is_other(&others, context)
            });
        }
    }
}

fn is_other(others: &[X509], context: &mut X509StoreContextRef) -> bool {
    let is_nameless = context.error_depth() == 0 && OTHER_NAME.contains(&context.error().as_raw());
    let shown = context.current_cert();
    let is_other = is_nameless && shown.is_some_and(|shown| others.iter().any(|it| it == shown));
    if is_other {
        context.set_error(X509VerifyResult::OK);
    }
    is_other
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Server,
    Client,
}

fn build(
    pair: &Pair,
    trusted: &[X509],
    side: Side,
    min_version: TlsVersion,
) -> Result<SslContext, ErrorStack> {
    let mut context = SslContextBuilder::new(match side {
        Side::Server => SslMethod::tls_server(),
        Side::Client => SslMethod::tls_client(),
    })?;
    context.set_min_proto_version(Some(min_version.as_openssl()))?;
    if min_version.needs_level_0() {
        context.set_cipher_list("DEFAULT:@SECLEVEL=0")?;
    }
    context.set_options(SslOptions::NO_RENEGOTIATION | SslOptions::NO_TICKET);
    // A resumed session would skip the certificates.
    context.set_session_cache_mode(SslSessionCacheMode::OFF);
    context.set_certificate(pair.certificate())?;
    for issuer in pair.chain() {
        context.add_extra_chain_cert(issuer.clone())?;
    }
    context.set_private_key(pair.key())?;
    for trusted in trusted {
        context.cert_store_mut().add_cert(trusted.clone())?;
    }
    // What is in the store is trusted as it is, be it a root or not.
    context
        .verify_param_mut()
        .set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
    context.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    Ok(context.build())
}

fn store(trusted: &[X509]) -> Result<X509Store, ErrorStack> {
    let mut store = X509StoreBuilder::new()?;
    for trusted in trusted {
        store.add_cert(trusted.clone())?;
    }
    store.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
    Ok(store.build())
}

/// Returns whether whoever trusts these certificates accepts this one now, shown with its chain.
pub(super) fn covers(
    trusted: &[X509],
    certificate: &X509,
    chain: &[X509],
) -> Result<bool, ErrorStack> {
    verify(&store(trusted)?, certificate, chain)
}

fn verify(store: &X509Store, certificate: &X509, chain: &[X509]) -> Result<bool, ErrorStack> {
    let mut shown = Stack::new()?;
    for issuer in chain {
        shown.push(issuer.clone())?;
    }
    X509StoreContext::new()?.init(store, certificate, &shown, |context| context.verify_cert())
}

pub(super) fn expect_name(ssl: &mut Ssl, name: &str) -> Result<(), ErrorStack> {
    if let Ok(ip) = name.parse::<IpAddr>() {
        return ssl.param_mut().set_ip(ip);
    }
    ssl.set_hostname(name)?;
    let param = ssl.param_mut();
    param.set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS | X509CheckFlags::NEVER_CHECK_SUBJECT);
    param.set_host(name)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use openssl::{
        hash::MessageDigest,
        nid::Nid,
        pkey::{PKey, Private},
        x509::extension::BasicConstraints,
    };

    use super::*;
    use crate::tls::{CertificateBuilder, new_key};

    /// From 2001 to 2099.
    const VALID_S: (i64, i64) = (1_000_000_000, 4_090_000_000);

    fn named<'a>(name: &str, key: &'a PKey<Private>) -> CertificateBuilder<'a> {
        CertificateBuilder::new(&[(Nid::COMMONNAME, name)], key, VALID_S).unwrap()
    }

    fn pair(certificates: &[&X509], key: &PKey<Private>) -> Pair {
        let pem = certificates.iter().map(|it| it.to_pem().unwrap());
        let pem: Vec<u8> = pem.flatten().collect();
        let key = key.private_key_to_pem_pkcs8().unwrap();
        Pair::from_pem((Path::new("crt"), &pem), (Path::new("key"), &key)).unwrap()
    }

    #[test]
    fn an_authority_in_the_file_lets_all_in_that_it_has_signed() {
        let [root, middle, former, new] = [(); 4].map(|()| new_key(Nid::SECP384R1).unwrap());
        let digest = MessageDigest::sha384;
        let authority = |name, key| {
            let constraints = BasicConstraints::new().critical().ca().build().unwrap();
            named(name, key).with(constraints).unwrap()
        };
        let root_crt = authority("root", &root).sign_itself(digest()).unwrap();
        let middle_crt = authority("middle", &middle);
        let middle_crt = middle_crt.sign_by(&root_crt, &root, digest()).unwrap();
        let [former_crt, new_crt] = [(&former, &middle_crt, &middle), (&new, &root_crt, &root)]
            .map(|(key, issuer, issuer_key)| {
                let certificate = named("node", key);
                certificate.sign_by(issuer, issuer_key, digest()).unwrap()
            });
        let with_chain = pair(&[&former_crt, &middle_crt], &former);
        let alone = pair(&[&former_crt], &former);
        let new_alone = pair(&[&new_crt], &new);
        let with_root = pair(&[&new_crt, &root_crt], &new);
        for (pair, other, lets_in) in [
            (&alone, &alone, true),
            (&new_alone, &with_chain, false),
            // By the certificate between them, which the other one shows.
            (&with_root, &with_chain, true),
            (&with_root, &alone, false),
            (&alone, &with_root, false),
        ] {
            assert_eq!(pair.lets_in(other).unwrap(), lets_in);
        }
    }
}
