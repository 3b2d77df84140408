//! The flags of the sub-command `recover`.

use std::{path::PathBuf, str::FromStr};

use clap::{ArgAction, Parser, ValueEnum};
use dqlite::wire::NodeId;

use super::boolean;
use crate::address::NodeAddress;

#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(after_help = "\
Examples:
  k8s-dqlite recover /var/lib/k8s-dqlite
  k8s-dqlite recover /var/lib/k8s-dqlite /mnt/node2/k8s-dqlite --yes
  k8s-dqlite recover --reseed --storage-dir /var/lib/k8s-dqlite --yes
  k8s-dqlite recover /var/lib/k8s-dqlite --yes \\
    --addresses 10.0.0.1:29001=10.9.0.1:29001,10.0.0.2:29001=10.9.0.2:29001

See docs/operations.md, \"When a majority is lost\" and \"When all addresses have changed\".")]
pub struct RecoverArgs {
    /// The directory to recover, then those to compare it with: copies from other machines.
    #[arg(value_name = "DIR", conflicts_with = "reseed")]
    pub dirs: Vec<PathBuf>,

    /// Do it; without this flag nothing is changed.
    #[arg(long)]
    pub yes: bool,

    /// The nodes that the cluster has afterwards, all of which vote; without this flag the node of the
    /// directory alone. An id is as in info.yaml, or as 0x and hexadecimal digits.
    #[arg(long, value_name = "ID@HOST:PORT,...", value_delimiter = ',')]
    #[arg(conflicts_with = "reseed")]
    pub members: Vec<MemberArg>,

    /// Give the nodes other addresses, all of which must be named: run it with the same list on each node. All keep
    /// their data and their cluster, whose majority is not lost.
    #[arg(long, value_name = "OLD=NEW,...", value_delimiter = ',')]
    #[arg(conflicts_with_all = ["reseed", "members", "cut"])]
    pub addresses: Vec<AddressArg>,

    /// Accept one of these conditions, under which it would be refused.
    #[arg(long, value_name = "WORD,...", value_delimiter = ',')]
    pub force: Vec<Accepted>,

    /// Recover a damaged directory by cutting its log off at the damage. The number of entries that are given up is
    /// printed first. This is the last resort: other nodes, or a backup, may have them.
    #[arg(long, conflicts_with = "reseed")]
    pub cut: bool,

    /// Move the data of one node aside, so that its next start gets them from the others.
    #[arg(long)]
    pub reseed: bool,

    /// The directory to re-seed.
    #[arg(long, value_name = "DIR", requires = "reseed")]
    pub storage_dir: Option<PathBuf>,

    /// With --reseed: the nodes speak TLS with each other. Without this flag: if the directory has
    /// cluster.crt.
    #[arg(long, value_parser = boolean, default_missing_value = "true", requires = "reseed")]
    #[arg(num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    pub enable_tls: Option<bool>,
}

impl RecoverArgs {
    /// Takes this directory where none is named. Fails if there is none.
    pub fn complete(&mut self, default: Option<PathBuf>) -> Result<(), String> {
        match (self.reseed, &self.storage_dir) {
            (true, None) => self.storage_dir = default,
            (false, _) if self.dirs.is_empty() => self.dirs = Vec::from_iter(default),
            _ => {}
        }
        match (self.reseed, &self.storage_dir) {
            (true, None) => Err("--reseed needs --storage-dir DIR".to_owned()),
            (false, _) if self.dirs.is_empty() => {
                Err("name the directory to recover: k8s-dqlite recover DIR".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// A condition under which a recovery is refused unless it is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Accepted {
    /// Recover a directory although another has newer data, which is lost then; or re-seed one although
    /// no other node leads
    LoseNewerData,
    /// Recover a directory, or change addresses in it, although other nodes of its cluster run
    LeaveOthersRunning,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberArg {
    pub id: NodeId,
    pub address: NodeAddress,
}

/// The old and the new address of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressArg {
    pub old: NodeAddress,
    pub new: NodeAddress,
}

impl FromStr for AddressArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (old, new) = text.split_once('=').ok_or("must be OLD=NEW")?;
        let address = |text: &str| {
            let parsed = text.parse::<NodeAddress>();
            parsed.map_err(|error| format!("{text:?} is no address: {error}"))
        };
        let (old, new) = (address(old)?, address(new)?);
        match new.is_unspecified() {
            true => Err(format!("no other node could reach {new}")),
            false => Ok(Self { old, new }),
        }
    }
}

impl FromStr for MemberArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, address) = text.split_once('@').ok_or("must be ID@HOST:PORT")?;
        let parsed = match id.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => id.parse(),
        };
        let id = NodeId::new(parsed.map_err(|error| format!("{id:?} is no id: {error}"))?);
        if id.is_unknown() {
            return Err("the id is 0".to_owned());
        }
        let address = address
            .parse()
            .map_err(|error| format!("{address:?} is no address: {error}"))?;
        Ok(Self { id, address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_snap_names_the_directory_where_the_command_does_not() {
        let completed = |flags: &[&str], default: Option<&str>| {
            let mut args = RecoverArgs::parse_from([&["recover"], flags].concat());
            args.complete(default.map(PathBuf::from)).map(|()| args)
        };
        let node = Some("/node");
        assert_eq!(completed(&[], node).unwrap().dirs, [PathBuf::from("/node")]);
        assert_eq!(
            completed(&["/a"], node).unwrap().dirs,
            [PathBuf::from("/a")]
        );
        let reseeded = completed(&["--reseed"], node).unwrap();
        assert_eq!(reseeded.storage_dir, Some(PathBuf::from("/node")));
        assert!(reseeded.dirs.is_empty());
        for flags in [&[][..], &["--reseed"]] {
            assert!(completed(flags, None).is_err(), "{flags:?}");
        }
    }

    #[test]
    fn an_address_takes_the_place_of_another() {
        let change: AddressArg = "a:1=b:2".parse().unwrap();
        assert_eq!((change.old.as_str(), change.new.as_str()), ("a:1", "b:2"));
        for text in ["a:1", "a:1=", "a=b:1", "a:1=0.0.0.0:1"] {
            assert!(text.parse::<AddressArg>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_member_is_an_id_and_an_address() {
        let member: MemberArg = "0x2dc@10.0.0.1:9000".parse().unwrap();
        assert_eq!(
            (member.id, member.address.as_str()),
            (NodeId::new(0x2dc), "10.0.0.1:9000")
        );
        assert_eq!(
            "732@a:1".parse::<MemberArg>().unwrap().id,
            NodeId::new(0x2dc)
        );
        for text in ["1", "0@a:1", "x@a:1", "1@a", "@a:1"] {
            assert!(text.parse::<MemberArg>().is_err(), "{text}");
        }
    }
}
