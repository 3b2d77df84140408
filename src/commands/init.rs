//! The sub-command `init`: makes the storage directory of a new node.
//!
//! Invariants: all is checked before anything is written, the address by listening at it, the cluster by asking it;
//! init.yaml is written last, so that the same command finishes what was cut short; the data of a node is never touched.

use std::{
    fmt::{self, Write},
    fs::{self, DirBuilder},
    io,
    net::IpAddr,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    time::Duration,
};

use dqlite::{
    client::{ConnectOptions, Error as ClientError, LeaderConnector},
    cluster::resolver,
    files::{INFO_FILE, replace, yaml_value},
    proxy::{BoundPort, PortError},
    tls::{NewPair, Pair, Tls, TlsError, TlsVersion},
};
use nix::unistd::geteuid;
use openssl::error::ErrorStack;

use super::machine;
use crate::{
    address::{NodeAddress, authority},
    args::InitArgs,
    config::{self, CERTIFICATE, ConfigError, INIT, KEY},
};

/// The port of a node for other nodes, unless an address is given. The snap has the same.
const NODE_PORT: u16 = 29001;

/// The name that nodes ask each other for, as in config/csr-dqlite.conf.template.
pub(super) const SERVER_NAME: &str = "k8s";

/// The validity of a pair, ten years, as in scripts/certs: all nodes need a new one at once.
pub(super) const VALID_S: i64 = 3650 * 24 * 3600;

/// The bits of a file's mode by which its group and others may write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Clocks of nodes differ a little.
pub(super) const SKEW_S: i64 = 60;

/// The time that the cluster has to tell its nodes.
const CLUSTER_TIMEOUT: Duration = Duration::from_secs(10);

/// The time that each node has to answer.
const NODE_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the pair in {} cannot be used: {source}", dir.display())]
    Pair { dir: PathBuf, source: TlsError },
    #[error("the pair cannot be made: {0}")]
    NewPair(#[from] ErrorStack),
    #[error("{0}: give another one with --address")]
    Address(#[from] PortError),
    #[error(
        "no node of the cluster answers at {addresses}: {source}; check that one runs there, that this machine reaches it, \
         and that the pair is theirs"
    )]
    Cluster {
        addresses: String,
        source: ClientError,
    },
    #[error("{0}")]
    Refused(String),
}

/// The directory that was made, and what to do next.
#[derive(Debug, PartialEq, Eq)]
struct Made {
    dir: PathBuf,
    address: NodeAddress,
    joins: bool,
    has_tls: bool,
    is_new: bool,
    /// The pair was in the directory before.
    had_pair: bool,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dir = config::quoted(&self.dir);
        let done = if self.is_new { "made" } else { "made before" };
        let what = match self.joins {
            true => "a node that joins a cluster",
            false => "the first node of a cluster",
        };
        let tls = if self.has_tls {
            ""
        } else {
            " --enable-tls=false"
        };
        writeln!(f, "{done}: {dir}, for {what}, at {}", self.address)?;
        if self.had_pair {
            writeln!(
                f,
                "Its pair is the one that was there: cluster.crt and cluster.key"
            )?;
        }
        writeln!(f, "Start it with: k8s-dqlite --storage-dir {dir}{tls}")?;
        if !self.joins && self.has_tls {
            writeln!(
                f,
                "Nodes that join need {dir}/cluster.crt and cluster.key: copy both, then, on their machines:\n  \
                 k8s-dqlite init --join {} --pair-from DIR",
                self.address
            )?;
        }
        Ok(())
    }
}

/// Makes the directory, and returns what is to be printed. `now_s` is in seconds since 1970.
pub async fn run(args: &InitArgs, now_s: i64) -> Result<String, InitError> {
    let dir = &args.storage_dir;
    // init.yaml is written last.
    let is_there = |name| dir.join(name).exists();
    if args.if_missing && (is_there(INFO_FILE) || is_there(INIT)) {
        return Ok(format!("there already: {}\n", config::quoted(dir)));
    }
    make(args, now_s).await.map(|made| made.to_string())
}

async fn make(args: &InitArgs, now_s: i64) -> Result<Made, InitError> {
    let dir = &args.storage_dir;
    let address = match &args.address {
        Some(address) => address.clone(),
        None => default_address(args, machine::primary())?,
    };
    let mut made = Made {
        dir: dir.clone(),
        address: address.clone(),
        joins: !args.join.is_empty(),
        has_tls: args.enable_tls,
        is_new: true,
        had_pair: false,
    };
    let init = init_yaml(&address, &args.join);
    check_owner(dir)?;
    let has_pair = [CERTIFICATE, KEY]
        .iter()
        .all(|name| dir.join(name).exists());
    if is_made(dir, &init)? && (has_pair || !args.enable_tls) {
        made.is_new = false;
        return Ok(made);
    }
    if address.is_unspecified() {
        let reason = "stands for all interfaces, and other nodes cannot connect to it: give the address that they reach";
        return Err(InitError::Refused(format!("{address} {reason}")));
    }
    // Released at once: the server takes it.
    drop(BoundPort::bind(address.as_str()).await?);
    let pair = match args.enable_tls {
        true => given_pair(args)?,
        false => None,
    };
    if made.joins {
        let tls = pair.as_ref().map(|pair| pair.tls.clone());
        check_cluster(&args.join, tls).await?;
    }
    made.had_pair = pair.as_ref().is_some_and(|pair| pair.is_there);
    let pair = match pair {
        Some(GivenPair { is_there: true, .. }) => None,
        Some(GivenPair { files, .. }) => Some(files),
        None if args.enable_tls => Some(new_pair(&address, now_s).await?),
        None => None,
    };
    write(dir, pair.as_ref(), &init)?;
    Ok(made)
}

/// Fails if somebody else could have put the pair into the directory that this user starts a node with, or can change it.
fn check_owner(dir: &Path) -> Result<(), InitError> {
    let own_uid = geteuid().as_raw();
    for path in [dir, &dir.join(KEY), &dir.join(CERTIFICATE)] {
        let Ok(found) = fs::metadata(path) else {
            continue;
        };
        if found.uid() != own_uid || found.mode() & WRITABLE_BY_OTHERS != 0 {
            return Err(InitError::Refused(format!(
                "{} belongs to another user, or others may write to it: run init as its owner after `chmod go-w`, or name \
                 another directory with --storage-dir",
                path.display()
            )));
        }
    }
    Ok(())
}

/// Returns the address of a node on a machine with this one. What runs before each start may be too early, while the machine
/// has none: the node would have that of the loopback for good.
fn default_address(args: &InitArgs, machine: IpAddr) -> Result<NodeAddress, InitError> {
    if args.if_missing && machine.is_loopback() {
        return Err(InitError::Refused(format!(
            "this machine has no address for other nodes yet: run the same command when it has one, or give it with --address \
             ({}, if it is to stay alone)",
            authority(&machine.to_string(), NODE_PORT)
        )));
    }
    let address = authority(&machine.to_string(), NODE_PORT);
    Ok(address.parse().expect("an address with a port"))
}

fn init_yaml(address: &NodeAddress, join: &[NodeAddress]) -> String {
    let mut text = format!("Address: {}\n", yaml_value(address.as_str()));
    if !join.is_empty() {
        text += "Cluster:\n";
        for node in join {
            let _ = writeln!(text, "- {}", yaml_value(node.as_str()));
        }
    }
    text
}

/// Returns whether the directory has this init.yaml. Fails if it is anything but that, or free.
fn is_made(dir: &Path, init: &str) -> Result<bool, InitError> {
    let path = dir.join(INIT);
    if dir.join(INFO_FILE).exists() {
        return Err(InitError::Refused(format!(
            "{} is the directory of a node already: start that with `k8s-dqlite --storage-dir {}`, or name a new directory \
             with --storage-dir",
            dir.display(),
            config::quoted(dir)
        )));
    }
    match fs::read_to_string(&path) {
        Ok(text) if text == init => Ok(true),
        Ok(_) => Err(InitError::Refused(format!(
            "{} is there, and says otherwise: start with it, or delete it first",
            path.display()
        ))),
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            config::check_unused(dir)?;
            Ok(false)
        }
        Err(source) => Err(ConfigError::Unreadable { path, source }.into()),
    }
}

/// A pair that the operator brings.
struct GivenPair {
    files: NewPair,
    tls: Tls,
    /// It is in the storage directory.
    is_there: bool,
}

/// Reads the pair from where it is to be copied from, or which is in the directory. None if there is none, and a new one
/// is to be made.
fn given_pair(args: &InitArgs) -> Result<Option<GivenPair>, InitError> {
    let own = &args.storage_dir;
    let has = |name| own.join(name).exists();
    let is_there = has(CERTIFICATE) && has(KEY);
    let from = match &args.pair_from {
        Some(from) => from,
        None if is_there => own,
        None if has(CERTIFICATE) || has(KEY) => {
            return Err(InitError::Refused(format!(
                "{} has only one of cluster.crt and cluster.key: restore the other, or move it away for a new pair",
                own.display()
            )));
        }
        None if args.join.is_empty() => return Ok(None),
        None => {
            return Err(InitError::Refused(
                "a node that joins needs the pair of the cluster: copy cluster.crt and cluster.key from the storage \
                 directory of a node of it, and name the directory that has them with --pair-from"
                    .to_owned(),
            ));
        }
    };
    let read = |name| {
        let path = from.join(name);
        fs::read(&path).map_err(|source| ConfigError::Unreadable { path, source })
    };
    let files = NewPair {
        certificate: read(CERTIFICATE)?,
        key: read(KEY)?,
    };
    for (name, wanted) in [(CERTIFICATE, &files.certificate), (KEY, &files.key)] {
        // One that is there from an attempt that was cut short is the same.
        if fs::read(own.join(name)).is_ok_and(|found| found != *wanted) {
            return Err(InitError::Refused(format!(
                "{} has another pair already: leave out --pair-from, or move cluster.crt and cluster.key away",
                own.display()
            )));
        }
    }
    let (certificate, key) = (from.join(CERTIFICATE), from.join(KEY));
    let tls = Pair::from_pem((&certificate, &files.certificate), (&key, &files.key))
        .and_then(|pair| Tls::of_pair(&pair, TlsVersion::default()))
        .map_err(|source| InitError::Pair {
            dir: from.clone(),
            source,
        })?;
    Ok(Some(GivenPair {
        files,
        tls,
        is_there,
    }))
}

/// Fails unless a cluster answers. It may have a node of the own address: one that was lost, since that address is free.
async fn check_cluster(join: &[NodeAddress], tls: Option<Tls>) -> Result<(), InitError> {
    let addresses: Vec<_> = join.iter().map(ToString::to_string).collect();
    let options = ConnectOptions {
        connect_timeout: NODE_TIMEOUT,
        request_timeout: NODE_TIMEOUT,
    };
    let mut connector = LeaderConnector::new(addresses.clone(), resolver(tls), options);
    let asked = async {
        let mut leader = connector.connect(CLUSTER_TIMEOUT).await?;
        leader.cluster().await
    };
    asked.await.map(drop).map_err(|source| InitError::Cluster {
        addresses: addresses.join(", "),
        source,
    })
}

async fn new_pair(address: &NodeAddress, now_s: i64) -> Result<NewPair, InitError> {
    let host = address.host().to_owned();
    let made = tokio::task::spawn_blocking(move || {
        let name = machine::host_name();
        let valid_s = (now_s - SKEW_S, now_s + VALID_S);
        NewPair::generate(SERVER_NAME, &[&name, &host], valid_s)
    });
    Ok(made.await.expect("making a pair does not panic")?)
}

fn write(dir: &Path, pair: Option<&NewPair>, init: &str) -> Result<(), ConfigError> {
    let unwritable = |path: &Path| {
        let path = path.to_owned();
        move |source| ConfigError::Unwritable { path, source }
    };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(unwritable(dir))?;
    let pair = pair.into_iter().flat_map(|pair| {
        // A pair is looked for by either of its files.
        [
            (KEY, &pair.key[..], 0o600),
            (CERTIFICATE, &pair.certificate[..], 0o644),
        ]
    });
    for (name, content, mode) in pair.chain([(INIT, init.as_bytes(), 0o600)]) {
        let path = dir.join(name);
        replace(&path, content, mode).map_err(unwritable(&path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn a_machine_without_an_address_is_waited_for_before_each_start() {
        let by_hand = InitArgs::parse_from(["init"]);
        let each_start = InitArgs::parse_from(["init", "--if-missing"]);
        for (machine, address) in [
            ("10.0.0.1", "10.0.0.1:29001"),
            ("fd00::1", "[fd00::1]:29001"),
        ] {
            let found = default_address(&each_start, machine.parse().unwrap()).unwrap();
            assert_eq!(found.as_str(), address);
        }
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let found = default_address(&by_hand, loopback).unwrap();
        assert_eq!(found.as_str(), "127.0.0.1:29001");
        let error = default_address(&each_start, loopback).unwrap_err();
        assert!(error.to_string().contains("--address"), "{error}");
    }
}
