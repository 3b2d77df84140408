//! Checks that info.yaml and the log mean the same node.

use std::path::Path;

use dqlite::{
    files::{INFO_FILE, Identity, read_info_copy},
    log::Report,
    node::mark,
    wire::{NodeId, Server},
};

use super::address::FORMER_INFO;
use crate::config::ConfigError;

/// Fails where the log knows the node under another address, or another node under this one's: the file was
/// edited by hand, or is of another node.
///
/// The log of one of several nodes may still have the address from before the last change, which
/// [`FORMER_INFO`] keeps. One that joins has no log, and one that was removed learns it from the others. One that
/// joined where a lost node was has, until its log is complete, that node under its own address; the mark says that the
/// directory is its own.
pub fn check(dir: &Path, identity: &Identity, report: &Report) -> Result<(), ConfigError> {
    let Some(configuration) = &report.configuration else {
        return Ok(());
    };
    if identity.is_joining || identity.bootstrap {
        return Ok(());
    }
    let former = read_info_copy(dir, FORMER_INFO)?;
    // One that cannot be read was refused before.
    let marked = mark::read(dir).ok().flatten();
    let marked_id = marked.map(|mark| mark.node_id);
    match contradiction(identity, &configuration.servers, former.as_ref(), marked_id) {
        Some(reason) => Err(ConfigError::Invalid {
            path: dir.join(INFO_FILE),
            reason,
        }),
        None => Ok(()),
    }
}

fn contradiction(
    own: &Identity,
    known: &[Server],
    former: Option<&Server>,
    marked_id: Option<NodeId>,
) -> Option<String> {
    let Identity { id, address, .. } = own;
    if let Some(of_id) = known.iter().find(|server| server.id == *id) {
        let is_former = former.is_some_and(|former| former.address == of_id.address);
        return (of_id.address != *address && !is_former).then(|| {
            format!(
                "says that this node has the address {address}, but the cluster knows it as {0}: put {0} back into \
                 info.yaml and cluster.yaml, and write the new address into update.yaml, as a line such as \
                 Address: {address}",
                of_id.address
            )
        });
    }
    if marked_id == Some(*id) {
        return None;
    }
    let of_address = known.iter().find(|server| server.address == *address)?;
    Some(format!(
        "says that this node is {id:x}, but the cluster has the node {:x} at {address}: the file is of another node; \
         put back the one that belongs to this directory",
        of_address.id
    ))
}

#[cfg(test)]
mod tests {
    use dqlite::wire::Role;

    use super::*;

    fn server(id: u64, address: &str) -> Server {
        Server {
            id: NodeId::new(id),
            address: address.to_owned(),
            role: Role::Voter,
        }
    }

    fn identity(id: u64, address: &str) -> Identity {
        Identity {
            id: NodeId::new(id),
            address: address.to_owned(),
            cluster: Vec::new(),
            is_joining: false,
            bootstrap: false,
        }
    }

    #[test]
    fn the_log_knows_the_node_that_info_yaml_names() {
        let known = [server(1, "a:1"), server(2, "b:1")];
        let said =
            |own: Identity, former: Option<&Server>| contradiction(&own, &known, former, None);
        assert_eq!(said(identity(1, "a:1"), None), None);
        // Removed: the others will say so.
        assert_eq!(said(identity(3, "c:1"), None), None);
        let moved = said(identity(1, "c:1"), None).unwrap();
        assert!(
            moved.contains("update.yaml") && moved.contains("put a:1 back"),
            "{moved}"
        );
        assert_eq!(said(identity(1, "c:1"), Some(&server(1, "a:1"))), None);
        assert!(said(identity(1, "c:1"), Some(&server(1, "d:1"))).is_some());
        let foreign = said(identity(7, "b:1"), None).unwrap();
        assert!(foreign.contains("the node 2 at b:1"), "{foreign}");
        // It took the place of node 2, and was killed before its log said so.
        let joined = identity(7, "b:1");
        assert_eq!(
            contradiction(&joined, &known, None, Some(NodeId::new(7))),
            None
        );
        assert!(contradiction(&joined, &known, None, Some(NodeId::new(2))).is_some());
    }
}
