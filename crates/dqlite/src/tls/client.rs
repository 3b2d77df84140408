//! TLS of a program that is no node: it may trust other certificates than its own, and expect another
//! name.

use std::path::{Path, PathBuf};

use super::pair::{dns_name, read_certificates};
use super::{Pair, Tls, TlsError, TlsVersion};

/// The certificate that a client shows, and the certificates that it trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientOptions {
    /// PEM: the certificate, then its chain if it has one.
    pub certificate: PathBuf,
    /// PEM, not encrypted.
    pub key: PathBuf,
    /// PEM: the certificates that are trusted instead of the client's own.
    pub ca: Option<PathBuf>,
    /// The name in the server's certificate. By default the first DNS name of the client's own, which is
    /// the server's too; with `ca`, and without such a name, the dialled host.
    pub server_name: Option<String>,
    pub min_version: TlsVersion,
}

impl Tls {
    pub fn load_client(options: &ClientOptions) -> Result<Tls, TlsError> {
        let pair = Pair::load(&options.certificate, &options.key)?;
        let trusted = match &options.ca {
            Some(ca) => read_certificates(ca)?,
            None => pair.all().to_vec(),
        };
        let own_name = || pair.first_dns_name().filter(|_| options.ca.is_none());
        let name = options.server_name.clone().or_else(own_name);
        Self::trusting(&pair, &trusted, name, options.min_version)
    }
}

/// The first DNS name of the certificate in a file.
pub fn first_dns_name(certificate: &Path) -> Result<Option<String>, TlsError> {
    Ok(dns_name(&read_certificates(certificate)?[0]))
}
