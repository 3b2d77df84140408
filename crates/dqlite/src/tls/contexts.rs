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
        let verified = Stack::new().and_then(|chain| {
            X509StoreContext::new()?.init(&self.store, certificate, &chain, |context| {
                context.verify_cert()
            })
        });
        verified.unwrap_or(false)
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

pub(super) fn expect_name(ssl: &mut Ssl, name: &str) -> Result<(), ErrorStack> {
    if let Ok(ip) = name.parse::<IpAddr>() {
        return ssl.param_mut().set_ip(ip);
    }
    ssl.set_hostname(name)?;
    let param = ssl.param_mut();
    param.set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS | X509CheckFlags::NEVER_CHECK_SUBJECT);
    param.set_host(name)
}
