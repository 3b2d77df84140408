//! The errors of a key pair.

use std::io;
use std::path::PathBuf;

use openssl::error::ErrorStack;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} holds no certificate in PEM format", path.display())]
    NoCertificate { path: PathBuf },
    #[error("{} holds no private key in PEM format", path.display())]
    NoKey { path: PathBuf },
    #[error("the private key in {} is encrypted; remove its passphrase", path.display())]
    EncryptedKey { path: PathBuf },
    #[error(
        "the private key in {} does not belong to the certificate in {}",
        key.display(), certificate.display()
    )]
    Mismatch { certificate: PathBuf, key: PathBuf },
    /// OpenSSL does not take the pair, because of its key size for example.
    #[error("OpenSSL refuses the key pair: {0}")]
    Refused(#[source] ErrorStack),
    #[error("{0:?} is not a TLS version: tls10, tls11, tls12 and tls13 are")]
    UnknownVersion(String),
}
