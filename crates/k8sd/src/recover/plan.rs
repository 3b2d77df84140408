//! The members that there are after a recovery, and the text for the person who runs it.

use std::{net::SocketAddr, path::Path, str::FromStr};

use dqlite::{
    node::LastEntry,
    wire::{Role, Server},
};

use super::{ARCHIVE_FOR_OTHERS, members::Member};
use crate::{Error, certificate::check_name, state::DaemonFile, trust::TrustEntry};

/// A member that stays: its name, and where it moved to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub name: String,
    pub address: Option<String>,
}

impl FromStr for Kept {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, address) = match text.split_once('=') {
            Some((name, address)) => (name, Some(address)),
            None => (text, None),
        };
        check_name(name).map_err(|error| error.to_string())?;
        let parsed = address.map(str::parse::<SocketAddr>).transpose();
        let address = parsed.map_err(|_| format!("{text:?}: an address is ip:port"))?;
        Ok(Self {
            name: name.to_owned(),
            address: address.map(|address| address.to_string()),
        })
    }
}

#[derive(Debug)]
pub struct Plan {
    /// All of them vote: the majority has to come from what is there.
    pub members: Vec<Member>,
    pub dropped: Vec<TrustEntry>,
    own_name: String,
}

impl Plan {
    /// `servers`: dqlite's list, which knows the ids by addresses.
    pub fn new(
        own: &DaemonFile,
        own_server: &Server,
        wanted: &[Kept],
        trusted: &[TrustEntry],
        servers: &[Server],
    ) -> Result<Self, Error> {
        let alone = [Kept {
            name: own.name.clone(),
            address: None,
        }];
        let wanted = if wanted.is_empty() { &alone } else { wanted };
        let mut members: Vec<Member> = Vec::new();
        for kept in wanted {
            let member = match kept.name == own.name {
                true => Member {
                    id: own_server.id,
                    name: own.name.clone(),
                    address: kept
                        .address
                        .clone()
                        .unwrap_or_else(|| own_server.address.clone()),
                },
                false => other(kept, trusted, servers)?,
            };
            let is_same = |other: &Member| {
                other.id == member.id
                    || other.name == member.name
                    || other.address == member.address
            };
            if members.iter().any(is_same) {
                return Err(Error::Invalid(format!(
                    "{} at {} has the name, the address or the id of another",
                    member.name, member.address
                )));
            }
            members.push(member);
        }
        if members.iter().all(|member| member.name != own.name) {
            return Err(Error::Invalid(format!(
                "this node, {}, has to be one of the members",
                own.name
            )));
        }
        let is_kept = |entry: &TrustEntry| members.iter().any(|member| member.name == entry.name);
        let dropped = trusted.iter().filter(|entry| !is_kept(entry));
        Ok(Self {
            dropped: dropped.cloned().collect(),
            members,
            own_name: own.name.clone(),
        })
    }

    pub fn servers(&self) -> Vec<Server> {
        let members = self.members.iter();
        members
            .map(|member| Server {
                id: member.id,
                address: member.address.clone(),
                role: Role::Voter,
            })
            .collect()
    }

    pub fn own_server(&self) -> Server {
        let at = self.members.iter().position(|m| m.name == self.own_name);
        self.servers()
            .swap_remove(at.expect("this node is a member"))
    }

    pub fn before(&self, root: &Path) -> String {
        format!(
            "\nNothing is changed yet. With --yes, the cluster of {} becomes: {}.\n{}\
             Before that:\n\
             - See that a majority is lost for good: if it can be started again, start it instead.\n\
             - Stop k8sd on all members that are left.\n\
             - Give this command their state directories, or copies of them: the one with the newest data is to be \
             recovered.\n\
             What only the lost members had is lost: changes of the last moments.\n",
            root.display(),
            self.names(),
            match self.dropped.is_empty() {
                true => String::new(),
                false => format!("These are members no more: {}.\n", self.dropped_names()),
            }
        )
    }

    pub fn after(&self, root: &Path, end: LastEntry, backup: &Path) -> String {
        let root = root.display();
        let mut text = format!(
            "\nRecovered: the cluster of {root} is now {} (term {}, index {}).\n\
             The database as it was is in {}.\n",
            self.names(),
            end.term,
            end.index,
            backup.display()
        );
        for other in self.members.iter().filter(|m| m.name != self.own_name) {
            text += &format!(
                "\nOn {}, while k8sd is stopped there: copy {root}/{ARCHIVE_FOR_OTHERS} of this node into its state \
                 directory as recovery_db.tar.gz, and start k8sd.\n",
                other.name
            );
        }
        for gone in &self.dropped {
            let TrustEntry { name, address, .. } = gone;
            text += &format!(
                "\n{name} (at {address}) is a member no more, and not trusted. Should it be found again: empty its \
                 state directory before k8sd starts there, then `k8sd token add {name}` here and join it anew.\n"
            );
        }
        text + "\nNow start k8sd on this node, and see `k8sd members` and `k8sd cluster check`.\n\
             The datastore has a cluster of its own: `k8s-dqlite recover` is for that.\n"
    }

    fn names(&self) -> String {
        let names = self.members.iter();
        let names: Vec<_> = names
            .map(|m| format!("{} at {}", m.name, m.address))
            .collect();
        names.join(", ")
    }

    fn dropped_names(&self) -> String {
        let names: Vec<_> = self.dropped.iter().map(|gone| gone.name.as_str()).collect();
        names.join(", ")
    }
}

fn other(kept: &Kept, trusted: &[TrustEntry], servers: &[Server]) -> Result<Member, Error> {
    let name = &kept.name;
    let Some(entry) = trusted.iter().find(|entry| entry.name == *name) else {
        return Err(Error::NotFound(format!(
            "the truststore knows no member {name}"
        )));
    };
    // Its new address, if an earlier attempt was interrupted.
    let is_its = |server: &&Server| {
        server.address == entry.address || Some(&server.address) == kept.address.as_ref()
    };
    let Some(server) = servers.iter().find(is_its) else {
        return Err(Error::NotFound(format!(
            "cluster.yaml does not know the id of {name}, at {}",
            entry.address
        )));
    };
    Ok(Member {
        id: server.id,
        name: name.clone(),
        address: kept
            .address
            .clone()
            .unwrap_or_else(|| entry.address.clone()),
    })
}

#[cfg(test)]
mod tests {
    use dqlite::wire::NodeId;

    use super::*;

    fn server(id: u64) -> Server {
        Server {
            id: NodeId::new(id),
            address: format!("10.0.0.{id}:6400"),
            role: Role::Spare,
        }
    }

    fn plan(wanted: &[&str]) -> Result<Plan, Error> {
        let own = DaemonFile {
            name: "node1".to_owned(),
            address: "10.0.0.1:6400".to_owned(),
            servers: Default::default(),
        };
        let trusted: Vec<_> = (1..=3)
            .map(|id| TrustEntry {
                name: format!("node{id}"),
                address: format!("10.0.0.{id}:6400"),
                certificate: String::new(),
            })
            .collect();
        let wanted: Vec<Kept> = wanted.iter().map(|text| text.parse().unwrap()).collect();
        let servers: Vec<_> = (1..=3).map(server).collect();
        Plan::new(&own, &server(1), &wanted, &trusted, &servers)
    }

    #[test]
    fn this_node_is_a_member_and_addresses_may_change() {
        let alone = plan(&[]).unwrap();
        assert_eq!((alone.members.len(), alone.dropped.len()), (1, 2));
        assert_eq!(alone.own_server().role, Role::Voter);
        let two = plan(&["node1=10.0.0.9:6400", "node2"]).unwrap();
        assert_eq!(two.own_server().address, "10.0.0.9:6400");
        assert_eq!(two.members[1].id, NodeId::new(2));
        assert_eq!(two.dropped[0].name, "node3");
        for bad in [
            &["node2"][..],
            &["node1", "node1"],
            &["node1", "node2=10.0.0.1:6400"],
            &["node1", "node4"],
        ] {
            assert!(plan(bad).is_err(), "{bad:?}");
        }
        for bad in ["node1=x:1", "no/de", ""] {
            assert!(bad.parse::<Kept>().is_err(), "{bad:?}");
        }
    }
}
