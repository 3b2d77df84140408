//! The flags to reach another server, by etcdctl's names.

use std::path::PathBuf;

use clap::Args;

use crate::remote::{Login, TlsFiles};

/// The variable in which etcdctl, too, looks for the password.
const PASSWORD_VARIABLE: &str = "ETCDCTL_PASSWORD";

#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct RemoteFlags {
    /// Authorities, in PEM, one of which must have signed the server's certificate; otherwise the system's.
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,

    /// Certificate to show to the server: PEM.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,

    /// Its private key: PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,

    /// Do not check who the server is.
    #[arg(long)]
    pub insecure_skip_tls_verify: bool,

    /// User, where the server wants one. The password may be in ETCDCTL_PASSWORD instead.
    #[arg(long, value_name = "NAME[:PASSWORD]")]
    pub user: Option<String>,
}

impl RemoteFlags {
    pub fn tls_files(&self) -> TlsFiles {
        TlsFiles {
            authorities: self.cacert.clone(),
            pair: self.cert.clone().zip(self.key.clone()),
            skip_verify: self.insecure_skip_tls_verify,
        }
    }

    pub fn login(&self) -> Option<Login> {
        let user = self.user.as_deref()?;
        let (name, password) = match user.split_once(':') {
            Some((name, password)) => (name, password.to_owned()),
            None => (user, std::env::var(PASSWORD_VARIABLE).unwrap_or_default()),
        };
        Some(Login {
            name: name.to_owned(),
            password,
        })
    }
}
