//! Certificates, and connections with TLS to servers that show them.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use dqlite::tls::{CertificateBuilder, new_key};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{Ssl, SslContext, SslContextBuilder, SslFiletype, SslMethod, SslVerifyMode};
use openssl::x509::X509;
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_openssl::SslStream;

/// Validity of a certificate, in seconds from now.
const VALID: (i64, i64) = (-3600, 86_400);
const EXPIRED: (i64, i64) = (-7200, -3600);

/// An authority, and the certificates that it has issued, in a directory.
pub struct Pki {
    dir: TempDir,
    authority: X509,
    key: PKey<Private>,
}

/// Certificate and key of somebody, as files.
#[derive(Debug, Clone)]
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// A PKI with `server` for 127.0.0.1, and for clients `root`, `alice` and the expired `late`.
impl Pki {
    pub fn new() -> Arc<Self> {
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let key = key();
        let constraints = BasicConstraints::new().critical().ca().build().unwrap();
        let builder = begin("authority", &key, VALID).with(constraints).unwrap();
        let authority = builder.sign_itself(MessageDigest::sha256()).unwrap();
        fs::write(dir.path().join("ca.crt"), authority.to_pem().unwrap()).unwrap();
        let pki = Self {
            dir,
            authority,
            key,
        };
        for name in ["server", "root", "alice"] {
            pki.issue(name, name, VALID);
        }
        pki.issue("late", "root", EXPIRED);
        Arc::new(pki)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn authority(&self) -> PathBuf {
        self.path("ca.crt")
    }

    pub fn pair(&self, name: &str) -> Pair {
        Pair {
            certificate: self.path(&format!("{name}.crt")),
            key: self.path(&format!("{name}.key")),
        }
    }

    /// The flags of a server, which are the same for k8s-dqlite and etcd.
    pub fn flags(&self) -> Vec<String> {
        let server = self.pair("server");
        vec![
            format!("--cert-file={}", server.certificate.display()),
            format!("--key-file={}", server.key.display()),
        ]
    }

    /// Returns the flags that also demand a certificate from clients.
    pub fn mutual_flags(&self) -> Vec<String> {
        let authority = format!("--trusted-ca-file={}", self.authority().display());
        let mut flags = self.flags();
        flags.extend([authority, "--client-cert-auth".to_owned()]);
        flags
    }

    /// Makes a new pair for the server, of which the files get the place of the old ones.
    pub fn renew_server(&self) -> X509 {
        self.issue("server", "server", VALID)
    }

    fn issue(&self, file: &str, common_name: &str, valid: (i64, i64)) -> X509 {
        let key = key();
        let usage = ExtendedKeyUsage::new().server_auth().client_auth().build();
        let certificate = begin(common_name, &key, valid)
            .with_names(&["localhost"], &["127.0.0.1"])
            .and_then(|builder| builder.with(usage.unwrap()))
            .and_then(|builder| {
                builder.sign_by(&self.authority, &self.key, MessageDigest::sha256())
            })
            .unwrap();
        let pair = self.pair(file);
        fs::write(pair.key, key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        fs::write(pair.certificate, certificate.to_pem().unwrap()).unwrap();
        certificate
    }

    /// A client that trusts this authority, and shows this pair if it is asked.
    pub fn client(self: &Arc<Self>, pair: Option<Pair>) -> TlsClient {
        let mut context = SslContextBuilder::new(SslMethod::tls_client()).unwrap();
        context.set_verify(SslVerifyMode::PEER);
        context.set_ca_file(self.authority()).unwrap();
        if let Some(pair) = pair {
            let pem = SslFiletype::PEM;
            context.set_certificate_file(pair.certificate, pem).unwrap();
            context.set_private_key_file(pair.key, pem).unwrap();
        }
        TlsClient {
            context: context.build(),
            pki: self.clone(),
        }
    }
}

/// Gives a storage directory a pair between nodes that has expired.
pub fn write_expired_node_pair(dir: &Path) {
    let key = key();
    let certificate = begin("k8s", &key, EXPIRED)
        .with_names(&["k8s"], &["127.0.0.1"])
        .and_then(|builder| builder.sign_itself(MessageDigest::sha256()))
        .unwrap();
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("cluster.crt"), certificate.to_pem().unwrap()).unwrap();
    fs::write(
        dir.join("cluster.key"),
        key.private_key_to_pem_pkcs8().unwrap(),
    )
    .unwrap();
}

fn key() -> PKey<Private> {
    new_key(Nid::X9_62_PRIME256V1).unwrap()
}

fn begin<'a>(
    common_name: &str,
    key: &'a PKey<Private>,
    valid: (i64, i64),
) -> CertificateBuilder<'a> {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    let valid = (now + valid.0, now + valid.1);
    CertificateBuilder::new(&[(Nid::COMMONNAME, common_name)], key, valid).unwrap()
}

/// The TLS settings of a client.
#[derive(Clone)]
pub struct TlsClient {
    context: SslContext,
    pki: Arc<Pki>,
}

impl TlsClient {
    pub fn pki(&self) -> &Arc<Pki> {
        &self.pki
    }

    /// Connects to speak HTTP/1.1. With TLS 1.3 a server that refuses the client's certificate says
    /// so only afterwards.
    pub async fn connect(&self, port: u16) -> std::io::Result<SslStream<TcpStream>> {
        self.connect_for(b"\x08http/1.1", port).await
    }

    async fn connect_for(
        &self,
        protocol: &[u8],
        port: u16,
    ) -> std::io::Result<SslStream<TcpStream>> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let mut ssl = Ssl::new(&self.context)?;
        ssl.set_alpn_protos(protocol)?;
        ssl.param_mut().set_ip([127, 0, 0, 1].into())?;
        let mut stream = SslStream::new(ssl, stream)?;
        Pin::new(&mut stream)
            .connect()
            .await
            .map_err(std::io::Error::other)?;
        Ok(stream)
    }

    /// A port without TLS, behind which is the server's with it, for gRPC.
    pub async fn tunnel(&self, port: u16) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tunnel = listener.local_addr().unwrap().port();
        let client = self.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let client = client.clone();
                tokio::spawn(async move {
                    // Whoever used it sees that it closed.
                    if let Ok(mut far) = client.connect_for(b"\x02h2", port).await {
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
        tunnel
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dir: &Path = self.pki.dir.path();
        f.debug_struct("TlsClient").field("dir", &dir).finish()
    }
}
