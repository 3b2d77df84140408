//! Makes the key pair that all nodes of a cluster share: it is the certificate of servers and clients, and the one that
//! both trust.

use std::net::IpAddr;

use openssl::{
    error::ErrorStack,
    hash::MessageDigest,
    nid::Nid,
    pkey::PKey,
    rsa::Rsa,
    x509::extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage},
};

use super::certificate::{CertificateBuilder, is_host_name};

/// The size of the key, as in scripts/certs.
const KEY_BITS: u32 = 4096;

/// A certificate and its key, in PEM.
pub struct NewPair {
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

impl NewPair {
    /// Makes a pair of the form of config/csr-dqlite.conf.template, for `name`, which is the server name that nodes ask
    /// each other for, and the hosts of nodes, names or addresses. It is valid between two times in seconds since 1970.
    /// Takes a second or more.
    pub fn generate(name: &str, hosts: &[&str], valid_s: (i64, i64)) -> Result<Self, ErrorStack> {
        let key = PKey::from_rsa(Rsa::generate(KEY_BITS)?)?;
        let usage = KeyUsage::new()
            .critical()
            .digital_signature()
            .key_encipherment()
            .data_encipherment()
            .build()?;
        let both_sides = ExtendedKeyUsage::new()
            .server_auth()
            .client_auth()
            .build()?;
        let (mut names, mut ips) = (vec![name, "localhost"], vec!["127.0.0.1", "::1"]);
        for host in hosts {
            let is_ip = host.parse::<IpAddr>().is_ok();
            let known = if is_ip { &mut ips } else { &mut names };
            if (is_ip || is_host_name(host)) && !known.contains(host) {
                known.push(host);
            }
        }
        let certificate = CertificateBuilder::new(&[(Nid::COMMONNAME, "k8s")], &key, valid_s)?
            .with(usage)?
            .with(both_sides)?
            .with(BasicConstraints::new().build()?)?
            .with_key_ids()?
            .with_names(&names, &ips)?
            .sign_itself(MessageDigest::sha256())?;
        Ok(Self {
            certificate: certificate.to_pem()?,
            key: key.private_key_to_pem_pkcs8()?,
        })
    }
}
