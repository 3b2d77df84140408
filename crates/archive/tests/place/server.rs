//! versitygw, started by a test and ended with it.

use std::{
    env,
    fs::{self, OpenOptions},
    io::Write,
    net::TcpListener,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use archive::place::{Place, PlaceOptions, open};
use openssl::{
    asn1::Asn1Time,
    bn::BigNum,
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    x509::{X509, X509NameBuilder, extension::SubjectAlternativeName},
};
use tempfile::TempDir;
use tokio_stream::StreamExt;

const ACCESS: &str = "AKIDTEST";
pub const SECRET: &str = "hush-hush/secret+key";
pub const BUCKET: &str = "history";

/// A busy machine is slow, not wrong.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    Plain,
    Tls,
}

pub struct Server {
    child: Child,
    dir: TempDir,
    pub port: u16,
    wire: Wire,
}

impl Server {
    /// Starts one with an empty bucket; none if there is no versitygw.
    pub async fn start(wire: Wire) -> Option<Self> {
        let Some(program) = env::var_os("VERSITYGW_BIN") else {
            eprintln!("skipped: VERSITYGW_BIN names no versitygw, so no S3 server was tried");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("data").join(BUCKET)).unwrap();
        write_certificate(dir.path());
        write_secret(&dir.path().join("credentials"), SECRET);
        let port = free_port();
        let mut command = Command::new(program);
        command
            .args([
                "--quiet",
                "--keep-alive",
                "--port",
                &format!("127.0.0.1:{port}"),
            ])
            .env("ROOT_ACCESS_KEY_ID", ACCESS)
            .env("ROOT_SECRET_ACCESS_KEY", SECRET);
        if wire == Wire::Tls {
            command.arg("--cert").arg(dir.path().join("cert.pem"));
            command.arg("--key").arg(dir.path().join("key.pem"));
        }
        // Not every file system has the attributes that it would keep.
        command
            .args(["posix", "--sidecar"])
            .arg(sidecar(dir.path()));
        command.arg(dir.path().join("data")).stdout(Stdio::null());
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        let server = Self {
            child,
            dir,
            port,
            wire,
        };
        server.wait().await;
        Some(server)
    }

    async fn wait(&self) {
        let place = self.place();
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            match place.list("any", None).next().await {
                None => return,
                Some(found) => assert!(Instant::now() < deadline, "{found:?}"),
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn url(&self, bucket: &str) -> String {
        let scheme = match self.wire {
            Wire::Plain => "http",
            Wire::Tls => "https",
        };
        url(bucket, scheme, self.port)
    }

    pub fn options(&self) -> PlaceOptions {
        PlaceOptions {
            credentials_file: Some(self.file("credentials")),
            trusted_ca_file: Some(self.file("cert.pem")),
            ..PlaceOptions::default()
        }
    }

    pub fn place(&self) -> Place {
        open(&self.url(BUCKET), &self.options()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn url(bucket: &str, scheme: &str, port: u16) -> String {
    format!("s3://{bucket}/clusters/one?endpoint={scheme}://127.0.0.1:{port}&region=us-east-1")
}

fn sidecar(dir: &Path) -> PathBuf {
    let sidecar = dir.join("sidecar");
    fs::create_dir_all(&sidecar).unwrap();
    sidecar
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Writes credentials with this secret.
pub fn write_secret(path: &Path, secret: &str) {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = file.open(path).unwrap();
    let text =
        format!("[default]\naws_access_key_id = {ACCESS}\naws_secret_access_key = {secret}\n");
    file.write_all(text.as_bytes()).unwrap();
}

/// Writes a certificate that is its own authority, and its key.
pub fn write_certificate(dir: &Path) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    fs::write(dir.join("cert.pem"), certificate(&key).to_pem().unwrap()).unwrap();
    fs::write(dir.join("key.pem"), key.private_key_to_pem_pkcs8().unwrap()).unwrap();
}

fn certificate(key: &PKey<Private>) -> X509 {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "archive test").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(key).unwrap();
    builder
        .set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::days_from_now(1).unwrap())
        .unwrap();
    let context = builder.x509v3_context(None, None);
    let names = SubjectAlternativeName::new()
        .ip("127.0.0.1")
        .build(&context)
        .unwrap();
    builder.append_extension(names).unwrap();
    builder.sign(key, MessageDigest::sha256()).unwrap();
    builder.build()
}
