//! TLS between the nodes of a cluster.
//!
//! Owns the cluster's key pair. It is one pair for all nodes and for both sides of a connection: what a
//! node shows, what it shows as a client, and what it trusts. So whoever holds it is a member, and
//! nobody else gets past the handshake.
//!
//! Invariants: both sides prove that they hold the key; a server is also checked for its name, the
//! first DNS name of the pair's certificate, or the dialled host where it has none (as go-dqlite, which
//! crashes on such a certificate). Nothing prompts: an encrypted key is refused.

mod certificate;
mod client;
mod error;
mod new_pair;
mod pair;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;

use openssl::error::ErrorStack;
use openssl::ssl::{Ssl, SslContext, SslContextBuilder, SslMethod, SslVerifyMode, SslVersion};
use openssl::ssl::{SslOptions, SslSessionCacheMode};
use openssl::x509::verify::{X509CheckFlags, X509VerifyFlags};
use openssl::x509::{X509, X509VerifyResult};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_openssl::SslStream;

pub use certificate::{CertificateBuilder, is_host_name, new_key};
pub use client::{ClientOptions, first_dns_name};
pub use error::TlsError;
pub use new_pair::NewPair;
pub use pair::Pair;

/// The oldest protocol version that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersion {
    Tls10,
    Tls11,
    #[default]
    Tls12,
    Tls13,
}

impl FromStr for TlsVersion {
    type Err = TlsError;

    fn from_str(name: &str) -> Result<Self, TlsError> {
        match name {
            "tls10" => Ok(TlsVersion::Tls10),
            "tls11" => Ok(TlsVersion::Tls11),
            "tls12" => Ok(TlsVersion::Tls12),
            "tls13" => Ok(TlsVersion::Tls13),
            other => Err(TlsError::UnknownVersion(other.to_owned())),
        }
    }
}

impl TlsVersion {
    pub fn as_openssl(self) -> SslVersion {
        match self {
            TlsVersion::Tls10 => SslVersion::TLS1,
            TlsVersion::Tls11 => SslVersion::TLS1_1,
            TlsVersion::Tls12 => SslVersion::TLS1_2,
            TlsVersion::Tls13 => SslVersion::TLS1_3,
        }
    }

    /// Returns whether handshakes are signed with SHA-1, as before TLS 1.2; OpenSSL allows that at level 0 only.
    fn needs_level_0(self) -> bool {
        matches!(self, TlsVersion::Tls10 | TlsVersion::Tls11)
    }
}

/// The files with the cluster's key pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// PEM: the certificate, then its chain if it has one.
    pub certificate: PathBuf,
    /// PEM, not encrypted.
    pub key: PathBuf,
    pub min_version: TlsVersion,
}

/// The cluster's key pair, ready for both sides. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    server: SslContext,
    client: SslContext,
    server_name: Option<String>,
}

impl Tls {
    /// Reads the pair and checks that it is one.
    pub fn load(options: &TlsOptions) -> Result<Tls, TlsError> {
        let pair = Pair::load(&options.certificate, &options.key)?;
        Self::of_pair(&pair, options.min_version)
    }

    /// Builds it from a pair that is in memory.
    pub fn of_pair(pair: &Pair, min_version: TlsVersion) -> Result<Tls, TlsError> {
        let trusted = pair.all();
        let context = |side| build(pair, trusted, side, min_version).map_err(TlsError::Refused);
        Ok(Tls {
            server: context(Side::Server)?,
            client: context(Side::Client)?,
            server_name: pair.first_dns_name(),
        })
    }

    /// The handshake of a server. The caller sets the deadline.
    pub async fn accept<S>(&self, stream: S) -> io::Result<SslStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut stream = SslStream::new(Ssl::new(&self.server)?, stream)?;
        Pin::new(&mut stream)
            .accept()
            .await
            .map_err(handshake_error)?;
        Ok(stream)
    }

    /// Returns whether others accept the pair's certificate from a node at this host.
    pub fn covers(&self, host: &str) -> bool {
        let Some(certificate) = self.server.certificate() else {
            return false;
        };
        // A name of the cluster is asked for instead of the host.
        self.server_name.is_some()
            || certificate.subject_alt_names().is_some_and(|names| {
                let ip = host.parse::<IpAddr>().ok();
                let octets = ip.map(|ip| match ip {
                    IpAddr::V4(ip) => ip.octets().to_vec(),
                    IpAddr::V6(ip) => ip.octets().to_vec(),
                });
                let mut covered = names.iter().filter_map(|name| name.ipaddress());
                covered.any(|name| Some(name) == octets.as_deref())
            })
    }

    /// The handshake of a client with the node at `host`. The caller sets the deadline.
    pub async fn connect<S>(&self, host: &str, stream: S) -> io::Result<SslStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut ssl = Ssl::new(&self.client)?;
        expect_name(&mut ssl, self.server_name.as_deref().unwrap_or(host))?;
        let mut stream = SslStream::new(ssl, stream)?;
        let connected = Pin::new(&mut stream).connect().await;
        let verified = stream.ssl().verify_result();
        match connected {
            Ok(()) => Ok(stream),
            // OpenSSL's own error does not say why.
            Err(_) if verified != X509VerifyResult::OK => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the server's certificate is not accepted: {verified}"),
            )),
            Err(error) => Err(handshake_error(error)),
        }
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
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

fn expect_name(ssl: &mut Ssl, name: &str) -> Result<(), ErrorStack> {
    if let Ok(ip) = name.parse::<IpAddr>() {
        return ssl.param_mut().set_ip(ip);
    }
    ssl.set_hostname(name)?;
    let param = ssl.param_mut();
    param.set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS | X509CheckFlags::NEVER_CHECK_SUBJECT);
    param.set_host(name)
}

fn handshake_error(error: openssl::ssl::Error) -> io::Error {
    match error.into_io_error() {
        Ok(error) => error,
        Err(error) => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}
