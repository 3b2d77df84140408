//! The members of a recovered cluster, and how the archive lists them.

use dqlite::wire::NodeId;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub id: NodeId,
    pub name: String,
    pub address: String,
}

impl Member {
    pub fn listed(&self) -> Listed {
        Listed {
            id: self.id,
            address: self.address.clone(),
            role: "voter".to_owned(),
            name: self.name.clone(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    pub id: NodeId,
    pub address: String,
    /// voter, stand-by or spare
    pub role: String,
    pub name: String,
}
