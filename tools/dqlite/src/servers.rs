//! The servers to ask, and the way to reach them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dqlite::client::{ConnectOptions, Endpoint, Resolve};
use dqlite::files::{FileError, read_members};
use dqlite::tls::{ClientOptions, Pair, Tls, TlsError, TlsVersion, first_dns_name};
use rusqlite::{Connection, OpenFlags};

use crate::args::Args;
use crate::error::ShellError;
use crate::render::unix_time;

/// The path at which microcluster leads to dqlite.
const MICROCLUSTER_PATH: &str = "/core/internal/database";

/// The longest timeout of a connection; it is less if the user waits less.
const MAX_CONNECT: Duration = Duration::from_secs(5);

/// The servers that were named, and the way to any address that they name.
#[derive(Clone)]
pub struct Servers {
    pub addresses: Vec<String>,
    pub resolve: Resolve,
    pub options: ConnectOptions,
}

impl Servers {
    pub fn from_args(args: &Args) -> Result<Servers, ShellError> {
        let timeout = args.timeout();
        let options = ConnectOptions {
            connect_timeout: timeout.min(MAX_CONNECT),
            request_timeout: timeout,
        };
        let (named, resolve) = match &args.microcluster {
            Some(dir) => microcluster(dir, args)?,
            None => (Vec::new(), plain(args)?),
        };
        let addresses = match args.servers.is_empty() {
            true => named,
            false => listed(&args.servers)?,
        };
        if addresses.is_empty() {
            return Err(ShellError::usage("the list of servers is empty"));
        }
        Ok(Servers {
            addresses,
            resolve,
            options,
        })
    }

    pub fn endpoint(&self, address: &str) -> Endpoint {
        (self.resolve)(address)
    }
}

/// The addresses of `--servers`.
fn listed(servers: &[String]) -> Result<Vec<String>, ShellError> {
    let stored = servers
        .iter()
        .find_map(|server| server.strip_prefix("file://"));
    let addresses = match stored {
        Some(_) if servers.len() > 1 => {
            return Err(ShellError::usage(
                "can't mix server store and explicit list",
            ));
        }
        Some(path) => store(Path::new(path))?,
        None => servers.to_vec(),
    };
    Ok(addresses
        .into_iter()
        .filter(|address| !address.is_empty())
        .collect())
}

/// The addresses of a file: YAML by its name, else SQLite.
fn store(path: &Path) -> Result<Vec<String>, ShellError> {
    if let Err(error) = std::fs::metadata(path) {
        return Err(ShellError::usage(format!(
            "open servers store: {}: {error}",
            path.display()
        )));
    }
    if path.extension().is_some_and(|name| name == "yaml") {
        return members(path);
    }
    sqlite_store(path).map_err(|error| {
        ShellError::usage(format!(
            "{} is neither a .yaml file nor an SQLite database of servers: {error}",
            path.display()
        ))
    })
}

pub fn members(path: &Path) -> Result<Vec<String>, ShellError> {
    let servers = read_members(path).map_err(|error| file_error(path, error))?;
    Ok(servers.into_iter().map(|server| server.address).collect())
}

/// The client's own words speak of a node's directory.
pub fn file_error(path: &Path, error: FileError) -> ShellError {
    match error {
        FileError::Damaged { reason, .. } => ShellError::usage(format!(
            "{} is no list of servers: {reason}",
            path.display()
        )),
        other => ShellError::usage(other.to_string()),
    }
}

fn sqlite_store(path: &Path) -> rusqlite::Result<Vec<String>> {
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut statement = database.prepare("SELECT address FROM servers")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// TCP with or without TLS, and unix sockets.
fn plain(args: &Args) -> Result<Resolve, ShellError> {
    let tls = match (&args.cert, &args.key) {
        (Some(certificate), Some(key)) => Some(load(&ClientOptions {
            certificate: certificate.clone(),
            key: key.clone(),
            ca: args.ca.clone(),
            server_name: args.server_name.clone(),
            min_version: TlsVersion::Tls12,
        })?),
        _ => None,
    };
    Ok(Arc::new(move |address| match (socket(address), &tls) {
        (Some(endpoint), _) => endpoint,
        (None, Some(tls)) => Endpoint::Tls {
            address: address.to_owned(),
            tls: tls.clone(),
        },
        (None, None) => Endpoint::Tcp(address.to_owned()),
    }))
}

/// `unix:///path`, `unix://@name` and `@name`.
fn socket(address: &str) -> Option<Endpoint> {
    let path = address.strip_prefix("unix://").unwrap_or(address);
    match path.strip_prefix('@') {
        Some(name) => Some(Endpoint::Abstract(name.to_owned())),
        None if path.len() < address.len() => Some(Endpoint::Unix(PathBuf::from(path))),
        None => None,
    }
}

/// The addresses of a microcluster and the way to them: its server's pair shows who asks, and the cluster's
/// certificate is what is trusted.
fn microcluster(dir: &Path, args: &Args) -> Result<(Vec<String>, Resolve), ShellError> {
    let trusted = dir.join("cluster.crt");
    let name = match &args.server_name {
        Some(name) => Some(name.clone()),
        None => first_dns_name(&trusted).map_err(|error| tls_error(&error))?,
    };
    let tls = load(&ClientOptions {
        certificate: dir.join("server.crt"),
        key: dir.join("server.key"),
        ca: Some(trusted),
        server_name: name,
        min_version: TlsVersion::Tls13,
    })?;
    let resolve: Resolve = Arc::new(move |address| {
        socket(address).unwrap_or_else(|| Endpoint::Upgraded {
            address: address.to_owned(),
            path: MICROCLUSTER_PATH.to_owned(),
            tls: tls.clone(),
        })
    });
    let store = dir.join("database/cluster.yaml");
    let addresses = if args.servers.is_empty() {
        members(&store)?
    } else {
        Vec::new()
    };
    Ok((addresses, resolve))
}

fn load(options: &ClientOptions) -> Result<Tls, ShellError> {
    let tls = Tls::load_client(options).map_err(|error| tls_error(&error))?;
    let pair = Pair::load(&options.certificate, &options.key).map_err(|error| tls_error(&error))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_s = now.map_or(0, |now| now.as_secs()).cast_signed();
    match pair.expires_s() {
        Ok(end_s) if end_s < now_s => {
            let end = unix_time(end_s);
            let path = options.certificate.display();
            Err(ShellError::usage(format!(
                "the certificate in {path} expired on {end}: no node accepts it"
            )))
        }
        _ => Ok(tls),
    }
}

fn tls_error(error: &TlsError) -> ShellError {
    ShellError::usage(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_to_their_sockets() {
        for (address, expected) in [
            ("unix:///run/x.sock", Some("/run/x.sock")),
            ("unix://@name", Some("@name")),
            ("@name", Some("@name")),
            ("10.0.0.1:9000", None),
        ] {
            let found = socket(address).map(|endpoint| endpoint.to_string());
            assert_eq!(found.as_deref(), expected);
        }
    }

    #[test]
    fn servers_come_from_lists_and_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| format!("file://{}", dir.path().join(name).display());
        let list = |servers: &[String]| listed(servers).map_err(|error| error.to_string());
        assert_eq!(
            list(&["a:1".into(), String::new(), "b:2".into()]).unwrap(),
            ["a:1", "b:2"]
        );
        std::fs::write(
            dir.path().join("c.yaml"),
            "- ID: 1\n  Address: c:3\n  Role: 0\n",
        )
        .unwrap();
        assert_eq!(list(&[path("c.yaml")]).unwrap(), ["c:3"]);
        assert!(
            list(&[path("c.yaml"), "a:1".into()])
                .unwrap_err()
                .contains("can't mix")
        );
        assert!(
            list(&[path("missing.yaml")])
                .unwrap_err()
                .contains("No such file")
        );
        std::fs::write(dir.path().join("bad.yaml"), "- ID: [\n").unwrap();
        let error = list(&[path("bad.yaml")]).unwrap_err();
        assert!(error.contains("bad.yaml is no list of servers"), "{error}");
        let database = Connection::open(dir.path().join("servers.db")).unwrap();
        database
            .execute_batch(
                "CREATE TABLE servers (address TEXT); INSERT INTO servers VALUES ('d:4')",
            )
            .unwrap();
        assert_eq!(list(&[path("servers.db")]).unwrap(), ["d:4"]);
        std::fs::write(dir.path().join("bad.db"), "x").unwrap();
        assert!(list(&[path("bad.db")]).unwrap_err().contains("neither"));
    }
}
