//! The pair of a new cluster, as `config/csr-dqlite.conf.template` describes it.

use std::{
    fs::{self, Permissions},
    net::IpAddr,
    os::unix::fs::PermissionsExt,
    process::Command,
};

use super::{HookError, SnapPaths, paths, snapctl};

/// The validity of a pair: ten years, since all nodes need a new pair at once.
const VALID_DAYS: &str = "3650";

/// Makes a pair, unless there is one.
pub fn make(paths: &SnapPaths, name: &str, ip: IpAddr) -> Result<(), HookError> {
    let dir = paths.storage();
    let (certificate, key) = (dir.join("cluster.crt"), dir.join("cluster.key"));
    match (certificate.exists(), key.exists()) {
        (true, true) => return Ok(()),
        (false, false) => {}
        _ => {
            return Err(HookError::Refused(format!(
                "{} has only one of cluster.crt and cluster.key: restore the other, or move it away",
                dir.display()
            )));
        }
    }
    let template = paths.snap.join("config/csr-dqlite.conf.template");
    let text = fs::read_to_string(&template).map_err(HookError::file(template))?;
    let text = text
        .replace("HOSTNAME", name)
        .replace("HOSTIP", &ip.to_string());
    let request = dir.join("tmp-request.conf");
    paths::write(&request, &text)?;
    let (new_certificate, new_key) = (dir.join("tmp-cluster.crt"), dir.join("tmp-cluster.key"));
    let mut openssl = Command::new("openssl");
    openssl
        .args(["req", "-x509", "-newkey", "rsa:4096", "-sha256", "-nodes"])
        .args(["-days", VALID_DAYS, "-config"])
        .arg(&request)
        .arg("-keyout")
        .arg(&new_key)
        .arg("-out")
        .arg(&new_certificate);
    snapctl::run(&mut openssl, "openssl")?;
    for (from, to, mode) in [
        (&new_key, &key, 0o600),
        (&new_certificate, &certificate, 0o644),
    ] {
        fs::set_permissions(from, Permissions::from_mode(mode)).map_err(HookError::file(from))?;
        fs::rename(from, to).map_err(HookError::file(to))?;
    }
    fs::remove_file(&request).map_err(HookError::file(request))
}
