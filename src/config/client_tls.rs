//! The TLS files of the etcd API, which are anywhere.

use crate::{
    args::{Args, file},
    tls::{ServerTls, ServerTlsError, TlsFiles, TlsOptions},
};

/// Loads the settings of TLS for clients; none without TLS. The flags were checked to fit together.
pub(super) fn load(args: &Args) -> Result<Option<ServerTls>, ServerTlsError> {
    if !args.listen.has_tls() {
        return Ok(None);
    }
    let flags = &args.client_tls;
    let files = TlsFiles {
        certificate: flags.cert_file.as_str().into(),
        key: flags.key_file.as_str().into(),
        trusted: file(&flags.trusted_ca_file),
        revoked: file(&flags.client_crl_file),
    };
    ServerTls::load(TlsOptions {
        files,
        min_version: flags.tls_min_version.0.unwrap_or_default(),
        max_version: flags.tls_max_version.0,
        names_clients: flags.client_cert_auth,
    })
    .map(Some)
}
