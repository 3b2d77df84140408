//! Bodies of requests and answers, in microcluster's forms.

use std::path::PathBuf;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::Error;

/// The newest internal schema that this program knows.
pub const SCHEMA_INTERNAL: i64 = 6;

/// Extensions, which have to be the same on all members.
pub const EXTENSIONS: [&str; 2] = [
    "internal:runtime_extension_v1",
    "internal:rename_core_endpoints",
];

pub const PENDING: &str = "PENDING";

pub fn success(metadata: &Value) -> Value {
    json!({
        "type": "sync", "status": "Success", "status_code": 200, "operation": "",
        "error_code": 0, "error": "", "metadata": metadata,
    })
}

pub fn failure(status: u16, message: &str) -> Value {
    json!({
        "type": "error", "status": "", "status_code": 0, "operation": "",
        "error_code": status, "error": message, "metadata": null,
    })
}

/// Returns the content of an answer, or the error that it carries.
pub fn open<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    #[derive(Deserialize)]
    struct Envelope {
        #[serde(rename = "type")]
        kind: String,
        #[serde(default)]
        error_code: u16,
        #[serde(default)]
        error: String,
        #[serde(default)]
        metadata: Value,
    }
    let strange = |error: serde_json::Error| {
        Error::Internal(format!("the answer cannot be decoded: {error}"))
    };
    let envelope: Envelope = serde_json::from_slice(body).map_err(strange)?;
    if envelope.kind == "error" {
        return Err(Error::Refused {
            status: envelope.error_code,
            message: envelope.error,
        });
    }
    serde_json::from_value(envelope.metadata).map_err(strange)
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Control {
    pub bootstrap: bool,
    pub join_token: String,
    pub address: String,
    pub name: String,
    /// Not in microcluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datastore: Option<DatastoreRequest>,
}

/// The datastore that a node is to run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DatastoreRequest {
    /// An absolute path.
    pub dir: PathBuf,
    /// `host:port`, for its other nodes.
    pub address: String,
    /// A number, or a name that stands for one.
    #[serde(default)]
    pub failure_domain: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NewToken {
    pub name: String,
    /// Nanoseconds; 0: never.
    pub expire_after: i64,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct TokenRecord {
    pub name: String,
    pub token: String,
    pub expires_at: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterMember {
    pub name: String,
    pub address: String,
    pub certificate: String,
    pub role: String,
    pub schema_internal_version: i64,
    pub schema_external_version: i64,
    pub last_heartbeat: String,
    pub status: String,
    pub extensions: Vec<String>,
    pub secret: String,
    /// The address of the datastore's node that the member runs, if it runs one. Microcluster has
    /// no such field.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub datastore_address: String,
    /// The role in the datastore: `none` if the datastore does not have the node; empty if it is
    /// unknown.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub datastore_role: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Peer {
    pub name: String,
    pub address: String,
    pub certificate: String,
}

/// The answer of a member to a node that it lets in.
#[derive(Serialize, Deserialize)]
pub struct Admission {
    pub cluster_cert: String,
    pub cluster_key: String,
    pub cluster_members: Vec<Peer>,
    #[serde(rename = "ClusterAdditionalCerts", default)]
    pub additional: Value,
    pub trusted_member: Option<Peer>,
    /// Set for a node that names a datastore address. Microcluster has no such field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datastore: Option<DatastoreAdmission>,
}

/// The pair of the datastore, in PEM, and the addresses of its other nodes.
#[derive(Clone, Serialize, Deserialize)]
pub struct DatastoreAdmission {
    pub certificate: String,
    pub key: String,
    pub addresses: Vec<String>,
}

/// The pair that took the place of the datastore's former one, in PEM. Microcluster has no such request.
#[derive(Clone, Serialize, Deserialize)]
pub struct DatastorePair {
    pub certificate: String,
    pub key: String,
}

/// The answer to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TakenPair {
    New,
    HadAlready,
    /// There is nothing to keep a pair for.
    NoDatastore,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct SqlQuery {
    pub query: String,
    /// Runs all statements in one transaction. Microcluster has no such field.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub transaction: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct SqlBatch {
    #[serde(rename = "Results")]
    pub results: Option<Vec<SqlResult>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SqlResult {
    /// `select` or `exec`
    #[serde(rename = "type")]
    pub kind: String,
    pub columns: Option<Vec<String>>,
    pub rows: Option<Vec<Vec<Value>>>,
    pub rows_affected: i64,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct SqlDump {
    pub text: String,
}

/// The findings of `cluster check`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct CheckReport {
    pub findings: Vec<String>,
    pub repaired: Vec<String>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_envelope_opens_to_what_it_holds() {
        let body = serde_json::to_vec(&success(&json!({"text": "x"}))).unwrap();
        assert_eq!(open::<SqlDump>(&body).unwrap().text, "x");
        let body = serde_json::to_vec(&failure(404, "no such member")).unwrap();
        let error = open::<SqlDump>(&body).unwrap_err();
        assert_eq!(
            (error.status(), error.to_string().as_str()),
            (404, "no such member")
        );
        assert!(open::<SqlDump>(b"<html>").is_err());
    }

    fn is_read_as_it_is_written<T: DeserializeOwned + Serialize>(bytes: &[u8]) {
        if let Ok(read) = serde_json::from_slice::<T>(bytes) {
            let once = serde_json::to_value(read).unwrap();
            let again: T = serde_json::from_value(once.clone()).unwrap();
            assert_eq!(serde_json::to_value(again).unwrap(), once);
        }
    }

    proptest! {
        #[test]
        fn no_body_is_more_than_refused(
            key in "bootstrap|join_token|address|name|expire_after|query|transaction|secret|extensions",
            value in "null|true|-?[0-9]{1,25}|[0-9]e[0-9]{1,4}|\"\\PC{0,9}\"|\\[\\]|\\{\\}|.{0,9}",
            noise in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let text = format!("{{\"{key}\":{value}}}");
            for bytes in [text.as_bytes(), &noise] {
                is_read_as_it_is_written::<Control>(bytes);
                is_read_as_it_is_written::<NewToken>(bytes);
                is_read_as_it_is_written::<ClusterMember>(bytes);
                is_read_as_it_is_written::<SqlQuery>(bytes);
                let _ = open::<SqlBatch>(bytes);
            }
        }
    }
}
