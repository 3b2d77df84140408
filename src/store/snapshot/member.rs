//! The nodes of the cluster that a snapshot is of, as the members of an etcd (`server/etcdserver/api/membership`).
//! etcd's restore replaces them; ours asks them whether they still run.

use dqlite::wire::{Role, Server};
use serde::{Deserialize, Serialize};

/// The bucket. A key is the id in hexadecimal digits.
pub const MEMBERS: &str = "members";

/// A member as it is stored, in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMember {
    id: u64,
    #[serde(rename = "peerURLs")]
    peer_urls: Vec<String>,
    #[serde(rename = "isLearner", default, skip_serializing_if = "is_false")]
    is_learner: bool,
    /// A node has no name, so it goes by its address.
    #[serde(default)]
    name: String,
    /// The role of a node of dqlite; a member of etcd has none.
    #[serde(default)]
    role: Option<String>,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl StoredMember {
    pub fn new(server: &Server, peer_url: String) -> Self {
        Self {
            id: server.id.number(),
            peer_urls: vec![peer_url],
            is_learner: server.role != Role::Voter,
            name: server.address.clone(),
            role: Some(server.role.name().to_owned()),
        }
    }

    pub fn key(&self) -> String {
        format!("{:x}", self.id)
    }

    /// The address of a node of dqlite, or `None` for a member of an etcd, whose peers speak another protocol.
    pub fn node_address(&self) -> Option<&str> {
        self.role.as_ref()?;
        let (_, address) = self.peer_urls.first()?.split_once("://")?;
        Some(address)
    }

    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("it has nothing that JSON lacks")
    }

    /// `None` for what cannot be read.
    pub fn from_json(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }
}

#[cfg(test)]
mod tests {
    use dqlite::wire::NodeId;

    use super::*;

    #[test]
    fn a_node_is_a_member_in_the_form_of_etcd() {
        let server = |role| Server {
            id: NodeId::new(0xab),
            address: "10.0.0.1:9000".to_owned(),
            role,
        };
        let url = || "https://10.0.0.1:9000".to_owned();
        let voter = StoredMember::new(&server(Role::Voter), url());
        assert_eq!(voter.key(), "ab");
        let json = String::from_utf8(voter.to_json()).unwrap();
        assert_eq!(
            json,
            r#"{"id":171,"peerURLs":["https://10.0.0.1:9000"],"name":"10.0.0.1:9000","role":"voter"}"#
        );
        let stand_by = StoredMember::new(&server(Role::StandBy), url());
        let read = StoredMember::from_json(&stand_by.to_json()).unwrap();
        assert_eq!((&read, read.is_learner), (&stand_by, true));
        assert_eq!(read.node_address(), Some("10.0.0.1:9000"));
    }

    #[test]
    fn a_member_of_etcd_is_no_node() {
        let of_etcd =
            br#"{"id":9,"peerURLs":["http://a:2380"],"name":"a","clientURLs":["http://a:2379"]}"#;
        assert_eq!(
            StoredMember::from_json(of_etcd).unwrap().node_address(),
            None
        );
        assert_eq!(StoredMember::from_json(b"{}"), None);
    }
}
