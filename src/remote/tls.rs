//! TLS towards another server, with files as etcdctl takes them.

use std::{
    io,
    path::{Path, PathBuf},
    pin::Pin,
};

use dqlite::tls::{Pair, TlsError};
use openssl::{
    error::ErrorStack,
    ssl::{SslConnector, SslMethod, SslVerifyMode, SslVersion},
    x509::{X509, store::X509StoreBuilder, verify::X509VerifyFlags},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_openssl::SslStream;

/// HTTP/2, with its length before it.
const PROTOCOL: &[u8] = b"\x02h2";

/// All optional. Without authorities, those of the system count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    pub authorities: Option<PathBuf>,
    /// Certificate and private key.
    pub pair: Option<(PathBuf, PathBuf)>,
    pub skip_verify: bool,
}

#[derive(Clone)]
pub struct RemoteTls {
    connector: SslConnector,
    skip_verify: bool,
}

impl RemoteTls {
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let authorities = files.authorities.as_deref().map(read_authorities);
        let pair = files.pair.as_ref().map(|(cert, key)| Pair::load(cert, key));
        let (authorities, pair) = (authorities.transpose()?, pair.transpose()?);
        let connector = build(authorities, pair.as_ref()).map_err(TlsError::Refused)?;
        Ok(Self {
            connector,
            skip_verify: files.skip_verify,
        })
    }

    pub async fn connect<S>(&self, host: &str, stream: S) -> io::Result<SslStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut settings = self.connector.configure()?;
        if self.skip_verify {
            settings.set_verify(SslVerifyMode::NONE);
            settings.set_verify_hostname(false);
        }
        let mut stream = SslStream::new(settings.into_ssl(host)?, stream)?;
        Pin::new(&mut stream)
            .connect()
            .await
            .map_err(io::Error::other)?;
        Ok(stream)
    }
}

fn read_authorities(path: &Path) -> Result<Vec<X509>, TlsError> {
    let unreadable = |source| TlsError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let bytes = std::fs::read(path).map_err(unreadable)?;
    let found = X509::stack_from_pem(&bytes).unwrap_or_default();
    match found.is_empty() {
        true => Err(TlsError::NoCertificate {
            path: path.to_owned(),
        }),
        false => Ok(found),
    }
}

fn build(authorities: Option<Vec<X509>>, pair: Option<&Pair>) -> Result<SslConnector, ErrorStack> {
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_alpn_protos(PROTOCOL)?;
    if let Some(authorities) = authorities {
        // In the place of those of the system.
        let mut trusted = X509StoreBuilder::new()?;
        for authority in authorities {
            trusted.add_cert(authority)?;
        }
        builder.set_cert_store(trusted.build());
        // What is in the store is trusted as it is, be it a root or not, as in Go.
        builder
            .verify_param_mut()
            .set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
    }
    if let Some(pair) = pair {
        builder.set_certificate(pair.certificate())?;
        for issuer in pair.chain() {
            builder.add_extra_chain_cert(issuer.clone())?;
        }
        builder.set_private_key(pair.key())?;
    }
    Ok(builder.build())
}
