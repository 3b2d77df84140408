//! TLS on the client port.

mod certificates;
mod files;
mod strangers;

use std::sync::Arc;

use crate::harness::*;

/// A server with a certificate; clients need none.
fn one_sided() -> Options {
    with(&Pki::new(), Pki::flags)
}

/// Clients need one, too, and theirs says who they are.
fn mutual() -> Options {
    with(&Pki::new(), Pki::mutual_flags)
}

fn with(pki: &Arc<Pki>, flags: fn(&Pki) -> Vec<String>) -> Options {
    Options {
        flags: flags(pki),
        tls: Some(pki.client(Some(pki.pair("root")))),
    }
}
