//! Other addresses for the nodes, in every configuration that a log and its snapshots have. Pure.
//!
//! Nothing is appended, no index and no term changes, and what becomes of an entry depends on the entry alone: nodes whose
//! logs agree before agree afterwards, however far each has come. That is what appending a configuration to each log
//! would not give.

use std::collections::BTreeSet;

use crate::wire::Server;

use super::{
    batch::{Batch, EntryKind},
    bytes::u64_at,
    configuration,
    crc::crc32,
    snapshot_meta,
};

const FORMAT_BYTES: usize = 8;

/// The bytes of a `.meta` file before its checksum covers them, and before the nodes.
const META_SUM_BYTES: usize = 16;
const META_HEADER_BYTES: usize = 32;

/// Old addresses, and the new one of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressChanges(Vec<(String, String)>);

/// The other reason why a list that fits other nodes does not fit this one.
const BEHIND: &str = "if the list is right for the other nodes, this one has missed a change of the members: change the addresses on \
                      the others, and let this one join them with an empty directory";

/// A reason why addresses cannot be changed so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressFault {
    #[error("{0} is there twice")]
    Twice(String),
    /// Done once more, it would change that again.
    #[error(
        "{0} is an old and a new address: change the addresses in two steps, with others in between"
    )]
    Both(String),
    #[error("the new address of {0} is missing: write {0}=NEW, or {0}={0} if it stays; {BEHIND}")]
    Missing(String),
    #[error("no node has the address {0}, or the one that is to take its place; {BEHIND}")]
    Unknown(String),
}

impl AddressChanges {
    pub fn new(changes: Vec<(String, String)>) -> Result<Self, AddressFault> {
        let (mut old, mut new) = (BTreeSet::new(), BTreeSet::new());
        for (from, to) in &changes {
            if !old.insert(from) {
                return Err(AddressFault::Twice(from.clone()));
            }
            if !new.insert(to) {
                return Err(AddressFault::Twice(to.clone()));
            }
        }
        let moves = changes.iter().filter(|(from, to)| from != to);
        if let Some((_, to)) = moves.clone().find(|(_, to)| old.contains(to)) {
            return Err(AddressFault::Both(to.clone()));
        }
        Ok(Self(changes))
    }

    /// Checks that each of these nodes, which are all of the cluster, has its new address here, and that there are
    /// no others.
    pub fn check(&self, servers: &[Server]) -> Result<(), AddressFault> {
        for Server { address, .. } in servers {
            if !self
                .0
                .iter()
                .any(|(old, new)| [old, new].contains(&address))
            {
                return Err(AddressFault::Missing(address.clone()));
            }
        }
        let has = |address: &String| servers.iter().any(|server| server.address == *address);
        match self.0.iter().find(|(old, new)| !has(old) && !has(new)) {
            Some((old, _)) => Err(AddressFault::Unknown(old.clone())),
            None => Ok(()),
        }
    }

    /// Returns the new address of this one, which may be itself.
    pub fn new_of<'a>(&'a self, address: &'a str) -> &'a str {
        let change = self.0.iter().find(|(old, _)| old == address);
        change.map_or(address, |(_, new)| new)
    }

    /// Returns the address that this one took the place of, which may be itself.
    pub fn old_of<'a>(&'a self, address: &'a str) -> &'a str {
        let change = self.0.iter().find(|(_, new)| new == address);
        change.map_or(address, |(old, _)| old)
    }

    /// Returns the nodes with their new addresses; `None` if that changes nothing, or makes one of two of them. That may
    /// be where a node of long ago had a new address.
    pub fn applied(&self, servers: &[Server]) -> Option<Vec<Server>> {
        let changed: Vec<Server> = servers
            .iter()
            .map(|server| Server {
                address: self.new_of(&server.address).to_owned(),
                ..server.clone()
            })
            .collect();
        let addresses: BTreeSet<_> = changed.iter().map(|server| &server.address).collect();
        (changed != servers && addresses.len() == changed.len()).then_some(changed)
    }

    /// Returns the content of a segment with the new addresses, `None` where nothing changes. What a crash has left behind
    /// the last batch of an open one is left out, as the engine does.
    pub fn segment(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut changed = bytes.get(..FORMAT_BYTES)?.to_vec();
        let (mut offset, mut is_changed) = (FORMAT_BYTES, false);
        while let Ok(batch) = Batch::read(bytes, offset) {
            let replaced = batch.with_data(|entry| match entry.kind {
                EntryKind::Change => {
                    let servers = configuration::decode(entry.data)?;
                    self.applied(&servers)
                        .map(|servers| configuration::encode(&servers))
                }
                EntryKind::Command | EntryKind::Barrier => None,
            });
            is_changed |= replaced.is_some();
            match replaced {
                Some(batch) => changed.extend(batch),
                None => changed.extend(&bytes[offset..batch.end]),
            }
            offset = batch.end;
        }
        // An open segment ends with zeros; nothing follows the last batch of a closed one.
        if offset < bytes.len() {
            let len = changed.len().max(bytes.len());
            changed.resize(len, 0);
        }
        is_changed.then_some(changed)
    }

    /// Returns the content of a snapshot's `.meta` file with the new addresses, `None` where nothing changes or it
    /// is damaged.
    pub fn snapshot_meta(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let read = snapshot_meta::read(bytes, u64::MAX).ok()?;
        let nodes = configuration::encode(&self.applied(&read.servers)?);
        let mut sized = u64_at(bytes, META_SUM_BYTES)?.to_le_bytes().to_vec();
        sized.extend((nodes.len() as u64).to_le_bytes());
        sized.extend(&nodes);
        debug_assert_eq!(
            sized.len() + META_SUM_BYTES,
            META_HEADER_BYTES + nodes.len()
        );
        let sum = u64::from(crc32(&sized, 0));
        Some([&bytes[..8], &sum.to_le_bytes(), &sized].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        log::fixture,
        wire::{NodeId, Role},
    };

    fn nodes(addresses: &[&str]) -> Vec<Server> {
        let nodes = (1..).zip(addresses);
        nodes
            .map(|(id, address)| Server {
                id: NodeId::new(id),
                address: (*address).to_owned(),
                role: Role::Voter,
            })
            .collect()
    }

    fn changes(pairs: &[(&str, &str)]) -> Result<AddressChanges, AddressFault> {
        let owned = pairs
            .iter()
            .map(|(old, new)| ((*old).to_owned(), (*new).to_owned()));
        AddressChanges::new(owned.collect())
    }

    #[test]
    fn a_change_names_each_node_once() {
        let twice = |text: &str| Err(AddressFault::Twice(text.into()));
        assert_eq!(changes(&[("a:1", "x:1"), ("a:1", "y:1")]), twice("a:1"));
        assert_eq!(changes(&[("a:1", "x:1"), ("b:1", "x:1")]), twice("x:1"));
        let both = Err(AddressFault::Both("b:1".into()));
        assert_eq!(changes(&[("a:1", "b:1"), ("b:1", "a:1")]), both);
        let good = changes(&[("a:1", "x:1"), ("b:1", "b:1")]).unwrap();
        assert_eq!(good.check(&nodes(&["a:1", "b:1"])), Ok(()));
        assert_eq!(good.check(&nodes(&["x:1", "b:1"])), Ok(()), "done before");
        let missing = Err(AddressFault::Missing("c:1".into()));
        assert_eq!(good.check(&nodes(&["a:1", "b:1", "c:1"])), missing);
        let unknown = Err(AddressFault::Unknown("a:1".into()));
        assert_eq!(good.check(&nodes(&["b:1"])), unknown);
    }

    #[test]
    fn segments_and_snapshots_have_the_new_addresses_and_nothing_else_changes() {
        let changes = changes(&[("a:1", "longer.example:29001"), ("b:1", "y:1")]).unwrap();
        let before = nodes(&["a:1", "b:1"]);
        let after = nodes(&["longer.example:29001", "y:1"]);
        let data = configuration::encode(&before);
        let first = fixture::batch(&[(1, 3, &data), (1, 1, &[7; 16])]);
        let second = fixture::batch(&[(2, 1, &[8; 24]), (2, 2, &[0; 8])]);
        let closed = fixture::segment(&[first.clone(), second.clone()], 0);
        let changed = changes.segment(&closed).unwrap();
        let new_data = configuration::encode(&after);
        let new_first = fixture::batch(&[(1, 3, &new_data), (1, 1, &[7; 16])]);
        assert_eq!(
            changed,
            fixture::segment(&[new_first.clone(), second.clone()], 0)
        );
        assert_eq!(changes.segment(&changed), None, "again");
        assert_eq!(changes.segment(&fixture::segment(&[second], 4096)), None);
        // Open, with what a crash left behind the last batch.
        let mut open = fixture::segment(&[first], 0);
        open.extend([9; 100]);
        open.resize(4096, 0);
        assert_eq!(
            changes.segment(&open).unwrap(),
            fixture::segment(&[new_first], 4096)
        );

        let meta = |nodes: &[Server]| {
            let nodes = configuration::encode(nodes);
            let mut sized = 5_u64.to_le_bytes().to_vec();
            sized.extend((nodes.len() as u64).to_le_bytes());
            sized.extend(nodes);
            let sum = u64::from(crc32(&sized, 0)).to_le_bytes();
            [&1_u64.to_le_bytes()[..], &sum, &sized].concat()
        };
        let changed = changes.snapshot_meta(&meta(&before)).unwrap();
        assert_eq!(changed, meta(&after));
        assert!(snapshot_meta::read(&changed, 5).is_ok());
        assert_eq!(changes.snapshot_meta(&changed), None);
    }

    /// Node 2 has left, and the first takes its address.
    #[test]
    fn a_configuration_of_long_ago_that_would_name_an_address_twice_stays() {
        let changes = changes(&[("a:1", "b:1")]).unwrap();
        assert_eq!(changes.applied(&nodes(&["a:1", "b:1"])), None);
        assert_eq!(changes.applied(&nodes(&["a:1"])), Some(nodes(&["b:1"])));
    }
}
