//! TLS of the etcd API, by etcd's names.

use std::path::PathBuf;

use clap::{ArgAction, Args};
use dqlite::tls::TlsVersion;

use super::{ListenAddresses, values::boolean};

/// The TLS flags of etcd; an empty value is none.
#[derive(Debug, Clone, Args)]
pub struct ClientTlsFlags {
    /// Certificate of the etcd API, and its chain: PEM. Needs --listen=https://host:port.
    #[arg(long, value_name = "FILE", default_value = "")]
    pub cert_file: String,

    /// Private key of the etcd API: PEM.
    #[arg(long, value_name = "FILE", default_value = "")]
    pub key_file: String,

    /// Authorities, in PEM, one of which must have signed the certificate of each client.
    #[arg(long, value_name = "FILE", default_value = "")]
    pub trusted_ca_file: String,

    /// Take the common name of a client's certificate for its name.
    #[arg(long, value_parser = boolean, default_value = "false", default_missing_value = "true")]
    #[arg(num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    pub client_cert_auth: bool,

    /// A revocation list, PEM or DER: clients with these certificates are refused.
    #[arg(long, value_name = "FILE", default_value = "")]
    pub client_crl_file: String,

    /// Oldest TLS version of the etcd API: TLS1.2 or TLS1.3.
    #[arg(long, value_name = "VERSION", value_parser = version, default_value = "TLS1.2")]
    pub tls_min_version: Version,

    /// Newest TLS version of the etcd API; empty is no limit.
    #[arg(long, value_name = "VERSION", value_parser = version, default_value = "")]
    pub tls_max_version: Version,
}

/// A version of TLS; none if it is left to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(pub Option<TlsVersion>);

fn version(text: &str) -> Result<Version, &'static str> {
    match text {
        "" => Ok(Version(None)),
        "TLS1.2" => Ok(Version(Some(TlsVersion::Tls12))),
        "TLS1.3" => Ok(Version(Some(TlsVersion::Tls13))),
        _ => Err("write TLS1.2 or TLS1.3"),
    }
}

/// A path, unless it is empty.
pub fn file(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| text.into())
}

impl ClientTlsFlags {
    /// Fails with what is wrong with the flags together, and what to do about it.
    pub(super) fn check(&self, listen: &ListenAddresses) -> Result<(), String> {
        let files = [
            ("--cert-file", &self.cert_file),
            ("--key-file", &self.key_file),
            ("--trusted-ca-file", &self.trusted_ca_file),
            ("--client-crl-file", &self.client_crl_file),
        ];
        let mut given = files.iter().filter(|(_, file)| !file.is_empty());
        if !listen.has_tls() {
            let given = given.next().map(|(flag, _)| *flag);
            return match given.or(self.client_cert_auth.then_some("--client-cert-auth")) {
                None => Ok(()),
                Some(flag) => Err(format!(
                    "{flag} is for TLS, and --listen={listen} is without: write https:// there (unixs:// \
                     for a socket), or leave the flags of TLS out"
                )),
            };
        }
        if let Some((flag, _)) = files[..2].iter().find(|(_, file)| file.is_empty()) {
            return Err(format!(
                "--listen={listen} is with TLS and needs {flag}; without TLS it is tcp://host:port"
            ));
        }
        if self.trusted_ca_file.is_empty() {
            let needs =
                |flag| format!("{flag} needs --trusted-ca-file, the authority of the clients");
            if self.client_cert_auth {
                return Err(needs("--client-cert-auth"));
            }
            if !self.client_crl_file.is_empty() {
                return Err(needs("--client-crl-file"));
            }
        }
        match (self.tls_min_version.0, self.tls_max_version.0) {
            (Some(TlsVersion::Tls13), Some(TlsVersion::Tls12)) => {
                Err("--tls-min-version is newer than --tls-max-version".to_owned())
            }
            _ => Ok(()),
        }
    }
}
