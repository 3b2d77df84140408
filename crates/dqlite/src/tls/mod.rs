//! TLS between the nodes of a cluster.
//!
//! Owns the cluster's key pair. It is one pair for all nodes and for both sides of a connection: what a
//! node shows, what it shows as a client, and what it trusts. So whoever holds it is a member, and
//! nobody else gets past the handshake.
//!
//! Invariants: both sides prove that they hold the key; a server is also checked for its name, the
//! first DNS name of the pair's certificate, or the dialled host where it has none (as go-dqlite, which
//! crashes on such a certificate). Nothing prompts: an encrypted key is refused. A pair is replaced for all clones at
//! once, while both are trusted ([`Rotation`]); what the new trust does not cover is closed.

mod certificate;
mod client;
mod contexts;
mod error;
mod hindrance;
mod new_pair;
mod pair;
mod rotation;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;

use openssl::ssl::{Ssl, SslVersion};
use openssl::x509::{X509, X509VerifyResult};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_openssl::SslStream;

pub use certificate::{CertificateBuilder, is_host_name, new_key};
pub use client::{ClientOptions, first_dns_name};
use contexts::{Contexts, expect_name};
pub use error::TlsError;
pub use hindrance::hindrance;
pub use new_pair::NewPair;
pub use pair::{Fingerprint, Pair};
pub use rotation::{PemPair, ROTATION_FILE, Rotation, RotationStep};

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

/// The cluster's key pair, ready for both sides. Cheap to clone; clones change together.
#[derive(Clone)]
pub struct Tls {
    contexts: watch::Sender<Arc<Contexts>>,
}

impl Tls {
    /// Reads the pair and checks that it is one.
    pub fn load(options: &TlsOptions) -> Result<Tls, TlsError> {
        let pair = Pair::load(&options.certificate, &options.key)?;
        Self::of_pair(&pair, options.min_version)
    }

    /// Builds it from a pair that is in memory.
    pub fn of_pair(pair: &Pair, min_version: TlsVersion) -> Result<Tls, TlsError> {
        let name = pair.first_dns_name();
        Self::trusting(pair, pair.all(), name, min_version)
    }

    fn trusting(
        pair: &Pair,
        trusted: &[X509],
        server_name: Option<String>,
        min_version: TlsVersion,
    ) -> Result<Tls, TlsError> {
        let contexts = Contexts::build(pair, trusted, server_name, min_version)?;
        Ok(Tls {
            contexts: watch::Sender::new(Arc::new(contexts)),
        })
    }

    /// Shows another pair from now on, and trusts its certificates and no others. Whoever waits for
    /// [`replaced`](Self::replaced) or [`Shown::distrusted`] hears of it.
    pub fn replace(&self, pair: &Pair) -> Result<(), TlsError> {
        let min_version = self.contexts.borrow().min_version;
        let contexts = Contexts::build(pair, pair.all(), pair.first_dns_name(), min_version)?;
        self.contexts.send_replace(Arc::new(contexts));
        Ok(())
    }

    /// Fails where [`replace`](Self::replace) would, and changes nothing.
    pub fn check(&self, pair: &Pair) -> Result<(), TlsError> {
        let min_version = self.contexts.borrow().min_version;
        Contexts::build(pair, pair.all(), pair.first_dns_name(), min_version).map(drop)
    }

    /// Ends when another pair is shown than now. Never, if that does not happen.
    pub fn replaced(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut contexts = self.contexts.subscribe();
        let shown = contexts.borrow_and_update().shown.clone();
        async move {
            let is_another = |contexts: &Arc<Contexts>| contexts.shown != shown;
            if contexts.wait_for(is_another).await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// Returns the fingerprint of the certificate that is shown.
    pub fn shown(&self) -> Fingerprint {
        Fingerprint::of(&self.contexts.borrow().shown)
    }

    /// Returns when the certificate that is shown ends, in seconds since 1970.
    pub fn shown_ends_s(&self) -> Option<i64> {
        pair::unix_s(self.contexts.borrow().shown.not_after()).ok()
    }

    /// Returns the fingerprints of the certificates that are trusted.
    pub fn trusted(&self) -> Vec<Fingerprint> {
        let contexts = self.contexts.borrow();
        contexts.trusted.iter().map(Fingerprint::of).collect()
    }

    /// The handshake of a server. The caller sets the deadline.
    pub async fn accept<S>(&self, stream: S) -> io::Result<SslStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let ssl = Ssl::new(&self.contexts.borrow().server)?;
        let mut stream = SslStream::new(ssl, stream)?;
        Pin::new(&mut stream)
            .accept()
            .await
            .map_err(handshake_error)?;
        Ok(stream)
    }

    /// Returns the certificate that the other side of a connection has shown.
    pub fn shown_by<S>(&self, stream: &SslStream<S>) -> Option<Shown> {
        Some(Shown {
            certificate: stream.ssl().peer_certificate()?,
            contexts: self.contexts.subscribe(),
        })
    }

    /// Returns whether others accept the pair's certificate from a node at this host.
    pub fn covers(&self, host: &str) -> bool {
        let contexts = self.contexts.borrow();
        // A name of the cluster is asked for instead of the host.
        contexts.server_name.is_some()
            || contexts.shown.subject_alt_names().is_some_and(|names| {
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
        let contexts = self.contexts.borrow().clone();
        let mut ssl = Ssl::new(&contexts.client)?;
        expect_name(&mut ssl, contexts.server_name.as_deref().unwrap_or(host))?;
        contexts.accept_others(&mut ssl);
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
            .field("server_name", &self.contexts.borrow().server_name)
            .finish_non_exhaustive()
    }
}

/// The certificate by which the other side of a connection got in.
pub struct Shown {
    certificate: X509,
    contexts: watch::Receiver<Arc<Contexts>>,
}

impl Shown {
    /// Ends when the certificate is not trusted any more. Never, if that does not happen.
    pub async fn distrusted(mut self) {
        let certificate = self.certificate;
        let is_foreign = |contexts: &Arc<Contexts>| !contexts.trusts(&certificate);
        if self.contexts.wait_for(is_foreign).await.is_err() {
            std::future::pending().await
        }
    }
}

fn handshake_error(error: openssl::ssl::Error) -> io::Error {
    match error.into_io_error() {
        Ok(error) => error,
        Err(error) => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}
