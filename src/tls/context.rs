//! Builds the context of handshakes from files.

use std::path::Path;

use dqlite::tls::{Pair, TlsError};
use openssl::{
    asn1::Asn1Time,
    error::ErrorStack,
    ssl::{
        AlpnError, SslContext, SslContextBuilder, SslMethod, SslOptions, SslSessionCacheMode,
        SslVerifyMode, select_next_proto,
    },
    x509::{X509, X509Crl, verify::X509VerifyFlags},
};

use tracing::warn;

use super::{ServerTlsError, TlsOptions, files::read};

/// The protocols, in order of preference, each with its length before it.
const PROTOCOLS: &[u8] = b"\x02h2\x08http/1.1";

pub(super) struct Loaded {
    pub context: SslContext,
    pub revoked: Option<X509Crl>,
}

impl Loaded {
    pub fn load(options: &TlsOptions) -> Result<Self, ServerTlsError> {
        let files = &options.files;
        let pair = Pair::load(&files.certificate, &files.key).map_err(ServerTlsError::Pair)?;
        let trusted = files.trusted.as_deref().map(read_authorities);
        let trusted = trusted.transpose().map_err(ServerTlsError::Trusted)?;
        let revoked = files.revoked.as_deref().map(read_revoked).transpose()?;
        let context = build(options, &pair, trusted.as_deref())?;
        warn_of_dates(pair.certificate(), &files.certificate);
        Ok(Self { context, revoked })
    }
}

/// Clients refuse such a certificate, each with a text of its own.
fn warn_of_dates(certificate: &X509, path: &Path) {
    let Ok(now) = Asn1Time::days_from_now(0) else {
        return;
    };
    let path = path.display();
    if certificate.not_after() < now {
        let since = certificate.not_after();
        warn!("the certificate in {path} expired on {since}");
    }
    if certificate.not_before() > now {
        let from = certificate.not_before();
        warn!("the certificate in {path} is not valid before {from}");
    }
}

fn read_authorities(path: &Path) -> Result<Vec<X509>, TlsError> {
    let found = X509::stack_from_pem(&read(path)?).unwrap_or_default();
    match found.is_empty() {
        true => Err(TlsError::NoCertificate {
            path: path.to_owned(),
        }),
        false => Ok(found),
    }
}

fn read_revoked(path: &Path) -> Result<X509Crl, ServerTlsError> {
    let bytes = read(path).map_err(ServerTlsError::Revoked)?;
    X509Crl::from_pem(&bytes)
        .or_else(|_| X509Crl::from_der(&bytes))
        .map_err(|_| ServerTlsError::NoRevocationList(path.to_owned()))
}

fn build(
    options: &TlsOptions,
    pair: &Pair,
    trusted: Option<&[X509]>,
) -> Result<SslContext, ErrorStack> {
    let mut context = SslContextBuilder::new(SslMethod::tls_server())?;
    context.set_min_proto_version(Some(options.min_version.as_openssl()))?;
    context.set_max_proto_version(options.max_version.map(|version| version.as_openssl()))?;
    context.set_options(SslOptions::NO_RENEGOTIATION | SslOptions::NO_TICKET);
    // A resumed session would skip the certificates.
    context.set_session_cache_mode(SslSessionCacheMode::OFF);
    context.set_alpn_select_callback(|_, offered| {
        select_next_proto(PROTOCOLS, offered).ok_or(AlpnError::ALERT_FATAL)
    });
    context.set_certificate(pair.certificate())?;
    for issuer in pair.chain() {
        context.add_extra_chain_cert(issuer.clone())?;
    }
    context.set_private_key(pair.key())?;
    if let Some(trusted) = trusted {
        require_certificate(&mut context, trusted)?;
    }
    Ok(context.build())
}

fn require_certificate(
    context: &mut SslContextBuilder,
    trusted: &[X509],
) -> Result<(), ErrorStack> {
    for authority in trusted {
        context.cert_store_mut().add_cert(authority.clone())?;
        // Told to the client, which may have certificates of several.
        context.add_client_ca(authority)?;
    }
    // What is in the store is trusted as it is, be it a root or not, as in Go.
    context
        .verify_param_mut()
        .set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
    context.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    Ok(())
}
