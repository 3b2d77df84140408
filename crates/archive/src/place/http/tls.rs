//! TLS towards a server, by OpenSSL.

use std::{
    env, fmt, fs, io,
    path::{Path, PathBuf},
    pin::Pin,
};

use openssl::{
    error::ErrorStack,
    ssl::{ErrorCode, SslConnector, SslMethod, SslVersion},
    x509::{X509, X509VerifyResult, store::X509StoreBuilder, verify::X509VerifyFlags},
};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use super::link::LinkError;

/// The files in which distributions keep the authorities that they trust. OpenSSL looks at the place of the one that built it.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The variables that tell OpenSSL about another place.
const SYSTEM_VARIABLES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// A file with authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("there is no certificate in {}", .0.display())]
    NoCertificate(PathBuf),
    #[error("OpenSSL: {0}")]
    OpenSsl(#[from] ErrorStack),
}

#[derive(Clone)]
pub struct Tls(SslConnector);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    pub fn load(authorities: Option<&Path>) -> Result<Self, TlsFault> {
        let mut builder = SslConnector::builder(SslMethod::tls_client())?;
        builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        if let Some(path) = authorities {
            // In the place of those of the system.
            let mut trusted = X509StoreBuilder::new()?;
            for authority in read(path)? {
                trusted.add_cert(authority)?;
            }
            builder.set_cert_store(trusted.build());
            // What is in the store is trusted as it is, be it a root or not, as in Go.
            let parameters = builder.verify_param_mut();
            parameters.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
        } else if SYSTEM_VARIABLES
            .iter()
            .all(|name| env::var_os(name).is_none())
        {
            let found = SYSTEM_BUNDLES.iter().find(|path| Path::new(path).exists());
            if let Some(path) = found {
                builder.set_ca_file(path)?;
            }
        }
        Ok(Self(builder.build()))
    }

    pub async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<SslStream<TcpStream>, LinkError> {
        let settings = self.0.configure().map_err(io::Error::from)?;
        let ssl = settings.into_ssl(host).map_err(io::Error::from)?;
        let mut stream = SslStream::new(ssl, stream).map_err(io::Error::from)?;
        let connected = Pin::new(&mut stream).connect().await;
        let Err(error) = connected else {
            return Ok(stream);
        };
        let verified = stream.ssl().verify_result();
        if verified != X509VerifyResult::OK {
            return Err(LinkError::Tls(format!(
                "its certificate is not trusted: {verified}"
            )));
        }
        match error.code() {
            ErrorCode::SSL => Err(LinkError::Tls(error.to_string())),
            _ => Err(LinkError::Socket(
                error.into_io_error().unwrap_or_else(io::Error::other),
            )),
        }
    }
}

fn read(path: &Path) -> Result<Vec<X509>, TlsFault> {
    let bytes = fs::read(path).map_err(|source| TlsFault::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let found = X509::stack_from_pem(&bytes).unwrap_or_default();
    match found.is_empty() {
        true => Err(TlsFault::NoCertificate(path.to_owned())),
        false => Ok(found),
    }
}
