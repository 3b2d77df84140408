//! TLS of the etcd API.
//!
//! Owns the certificates that clients see, and what they must show themselves. Files that changed are read
//! again before the next handshake; if they cannot be used, the earlier ones stay in use.
//!
//! Invariants: with a trusted CA nobody gets past the handshake without a certificate of it, as in etcd.
//! Sessions are not resumed, so every connection shows its certificate.

mod context;
mod files;

use std::{
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use dqlite::tls::{TlsError, TlsVersion};
use openssl::{
    error::ErrorStack,
    nid::Nid,
    ssl::{Ssl, SslRef},
    x509::{CrlStatus, X509Ref},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::spawn_blocking,
    time::Instant,
};
use tokio_openssl::SslStream;
use tracing::{error, info};

use self::context::Loaded;
pub use self::files::TlsFiles;
use files::Stamp;

/// The interval at which the files are checked while clients connect: often enough for an operator
/// who replaces one and tries it, seldom enough to cost nothing.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum ServerTlsError {
    #[error("--cert-file, --key-file: {0}")]
    Pair(#[source] TlsError),
    #[error("--trusted-ca-file: {0}")]
    Trusted(#[source] TlsError),
    #[error("--client-crl-file: {0}")]
    Revoked(#[source] TlsError),
    #[error("--client-crl-file: {} holds no certificate revocation list in PEM or DER format", .0.display())]
    NoRevocationList(std::path::PathBuf),
    #[error("OpenSSL refuses the settings of TLS: {0}")]
    Refused(#[from] ErrorStack),
}

#[derive(Debug, Clone)]
pub struct TlsOptions {
    pub files: TlsFiles,
    pub min_version: TlsVersion,
    pub max_version: Option<TlsVersion>,
    /// True if a client's certificate names its user. Otherwise it only lets the client in.
    pub names_clients: bool,
}

pub struct ServerTls {
    options: TlsOptions,
    loaded: ArcSwap<Loaded>,
    look: Mutex<Look>,
}

/// The last look at the files.
struct Look {
    at: Instant,
    /// Those that are in use.
    seen: Vec<Option<Stamp>>,
    /// Why others could not be used, at the last attempt.
    failed: Option<String>,
}

/// A connection after its handshake.
pub struct Accepted<S> {
    pub stream: SslStream<S>,
    /// The name in the client's certificate, if that names its user.
    pub common_name: Option<Arc<str>>,
}

impl ServerTls {
    /// Returns the files from which it is read.
    pub fn files(&self) -> &TlsFiles {
        &self.options.files
    }

    pub fn load(options: TlsOptions) -> Result<Self, ServerTlsError> {
        // Before they are read, so that a change meanwhile is seen at the next look.
        let seen = options.files.stamps();
        let loaded = ArcSwap::from_pointee(Loaded::load(&options)?);
        let at = Instant::now();
        Ok(Self {
            options,
            loaded,
            look: Mutex::new(Look {
                at,
                seen,
                failed: None,
            }),
        })
    }

    /// The handshake of a server. The caller sets the deadline.
    pub async fn accept<S>(self: &Arc<Self>, stream: S) -> io::Result<Accepted<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.look().await;
        let loaded = self.loaded.load_full();
        let mut stream = SslStream::new(Ssl::new(&loaded.context)?, stream)?;
        Pin::new(&mut stream)
            .accept()
            .await
            .map_err(handshake_error)?;
        let common_name = identify(&loaded, stream.ssl(), self.options.names_clients)?;
        Ok(Accepted {
            stream,
            common_name,
        })
    }

    async fn look(self: &Arc<Self>) {
        {
            let mut look = self.lock();
            if look.at.elapsed() < LOOK_INTERVAL {
                return;
            }
            look.at = Instant::now();
        }
        let tls = self.clone();
        // It fails only when the runtime stops.
        let _ = spawn_blocking(move || tls.reload_if_changed()).await;
    }

    /// Reads the files again, whether they have changed or not. If they cannot be used, the earlier ones stay in use.
    pub async fn reload(self: &Arc<Self>) -> Result<(), ServerTlsError> {
        let tls = self.clone();
        let loaded = spawn_blocking(move || tls.load_again(tls.options.files.stamps()));
        // It fails only when the runtime stops.
        loaded.await.unwrap_or(Ok(()))
    }

    /// Files that could not be used are tried again at each look: what was wrong may be in no stamp. It is logged once.
    fn reload_if_changed(&self) {
        let stamps = self.options.files.stamps();
        if self.lock().seen == stamps {
            return;
        }
        match self.load_again(stamps) {
            Ok(()) => info!("the TLS files of the etcd API changed: new connections use them"),
            Err(error) => {
                let error = error.to_string();
                let mut look = self.lock();
                if look.failed.as_ref() != Some(&error) {
                    error!(
                        "the TLS files of the etcd API changed but cannot be used; the earlier ones stay in use: {error}"
                    );
                    look.failed = Some(error);
                }
            }
        }
    }

    /// Loads the files. The stamps were taken before, so that a change meanwhile is seen at the next look.
    fn load_again(&self, stamps: Vec<Option<Stamp>>) -> Result<(), ServerTlsError> {
        let loaded = Loaded::load(&self.options)?;
        self.loaded.store(Arc::new(loaded));
        let mut look = self.lock();
        look.seen = stamps;
        look.failed = None;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Look> {
        self.look.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// Returns the name of the client. Fails if its certificate is revoked.
fn identify(loaded: &Loaded, ssl: &SslRef, names_clients: bool) -> io::Result<Option<Arc<str>>> {
    let Some(certificate) = ssl.peer_certificate() else {
        return Ok(None);
    };
    let issuers = ssl.peer_cert_chain();
    let mut shown = std::iter::once(&*certificate).chain(issuers.into_iter().flatten());
    if shown.any(|shown| loaded.has_revoked(shown)) {
        let error = "the client's certificate is revoked";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, error));
    }
    Ok(names_clients.then(|| common_name(&certificate)).flatten())
}

impl Loaded {
    fn has_revoked(&self, certificate: &X509Ref) -> bool {
        self.revoked.as_ref().is_some_and(|list| {
            matches!(
                list.get_by_cert(&certificate.to_owned()),
                CrlStatus::Revoked(_)
            )
        })
    }
}

/// The last one, as in Go.
fn common_name(certificate: &X509Ref) -> Option<Arc<str>> {
    let entry = certificate
        .subject_name()
        .entries_by_nid(Nid::COMMONNAME)
        .last()?;
    let name = entry.data().to_string().ok()?;
    (!name.is_empty()).then(|| Arc::from(name))
}

fn handshake_error(error: openssl::ssl::Error) -> io::Error {
    match error.into_io_error() {
        Ok(error) => error,
        Err(error) => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

#[cfg(test)]
pub(crate) mod tests;
