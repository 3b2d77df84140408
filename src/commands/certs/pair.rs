//! The new pair: the operator's own, or one that is made. It is tried before any node has it.

use std::{io, path::Path, time::Duration};

use dqlite::tls::{NewPair, Pair, PemPair, Tls, TlsVersion};
use tokio::{io::duplex, time::timeout};

use super::CertsError;
use crate::{
    args::CertsRotateArgs,
    cluster::certificates::STILL_TRUSTED,
    commands::init::{SERVER_NAME, SKEW_S, VALID_S},
    config::{self, ConfigError},
};

/// The bytes of a handshake that wait to be read.
const PIPE_BYTES: usize = 64 * 1024;

/// A handshake in memory takes milliseconds.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the new pair, which was tried for each of these hosts. One that is made asks for the name that nodes ask each
/// other for now.
pub async fn new(
    args: &CertsRotateArgs,
    former: &PemPair,
    hosts: &[String],
    now_s: i64,
) -> Result<PemPair, CertsError> {
    let new = match (&args.cert, &args.key) {
        (Some(certificate), Some(key)) => PemPair {
            certificate: read(certificate)?,
            key: read(key)?,
        },
        _ => make(former, hosts, now_s).await?,
    };
    let pair = new.open("the new pair").map_err(ConfigError::Tls)?;
    let (begins_s, ends_s) = pair.valid_s()?;
    if !(begins_s..ends_s).contains(&now_s) {
        return Err(CertsError::Refused(
            "the new certificate is not valid now: nothing was changed".to_owned(),
        ));
    }
    let former = former.open("cluster.crt").map_err(ConfigError::Tls)?;
    if pair.fingerprint() != former.fingerprint()
        && pair.lets_in(&former).map_err(ConfigError::Tls)?
    {
        return Err(CertsError::Refused(format!(
            "{STILL_TRUSTED}. Nothing was changed"
        )));
    }
    for host in hosts {
        check(&pair, host).await.map_err(|reason| {
            CertsError::Refused(format!(
                "with the new certificate nodes could not reach the one at {host}: {reason}; it needs a DNS name, or all \
                 their addresses, in its subjectAltName, and to be for servers and clients. Nothing was changed"
            ))
        })?;
    }
    Ok(new)
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let text = config::read_bounded(path)
        .and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other));
    text.map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

async fn make(former: &PemPair, hosts: &[String], now_s: i64) -> Result<PemPair, CertsError> {
    let former = former.open("cluster.crt").map_err(ConfigError::Tls)?;
    let name = former.first_dns_name();
    let hosts = hosts.to_vec();
    let made = tokio::task::spawn_blocking(move || {
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let valid_s = (now_s - SKEW_S, now_s + VALID_S);
        NewPair::generate(name.as_deref().unwrap_or(SERVER_NAME), &hosts, valid_s)
    });
    let NewPair { certificate, key } = made.await.expect("making a pair does not panic")?;
    let text = |pem: Vec<u8>| String::from_utf8_lossy(&pem).into_owned();
    Ok(PemPair {
        certificate: text(certificate),
        key: text(key),
    })
}

/// Makes the handshake of two nodes with this pair, of which one is at the host.
async fn check(pair: &Pair, host: &str) -> Result<(), String> {
    let tls = Tls::of_pair(pair, TlsVersion::Tls12).map_err(|error| error.to_string())?;
    let (near, far) = duplex(PIPE_BYTES);
    let both = async { tokio::join!(tls.connect(host, near), tls.accept(far)) };
    let (connected, accepted) = timeout(HANDSHAKE_TIMEOUT, both)
        .await
        .map_err(|_| "no handshake".to_owned())?;
    connected.map_err(|error| error.to_string())?;
    accepted.map(drop).map_err(|error| error.to_string())
}
