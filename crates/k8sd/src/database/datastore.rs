//! The datastore's rows in the database: rows of `cluster_configs` under keys of ours.

use std::collections::BTreeMap;

use dqlite::wire::Param;
use serde_json::{Value, json};

use super::{Database, Step, text};
use crate::{Error, certificate::PemPair, schema};

/// `{"certificate": PEM, "key": PEM}`, in clear.
const PAIR: &str = "datastore::pair";

/// The key, before a member's name, of the address of its datastore server.
pub(crate) const MEMBER: &str = "datastore::member::";

/// Returns the step that deletes rows of members that are gone.
pub(super) fn forget_strays() -> Step<'static> {
    (schema::REMOVE_STRAYS, vec![Param::Text(MEMBER); 3])
}

impl Database {
    /// A database that another program made may lack the table.
    pub(super) async fn has_configs(&self) -> Result<bool, Error> {
        let rows = self.rows(schema::HAS_CONFIGS, &[]).await?;
        Ok(rows.first().and_then(|row| row[0].as_integer()) == Some(1))
    }

    async fn configs(&self, prefix: &str) -> Result<BTreeMap<String, String>, Error> {
        if !self.has_configs().await? {
            return Ok(BTreeMap::new());
        }
        let params = [Param::Text(prefix), Param::Text(prefix)];
        let rows = self.rows(schema::CONFIGS, &params).await?;
        let pair = |row: &dqlite::wire::Row| {
            let key = text(&row[0]);
            (key[prefix.len()..].to_owned(), text(&row[1]))
        };
        Ok(rows.iter().map(pair).collect())
    }

    /// The addresses of the datastore's servers, by the names of their members.
    pub async fn datastore_addresses(&self) -> Result<BTreeMap<String, String>, Error> {
        self.configs(MEMBER).await
    }

    pub async fn datastore_pair(&self) -> Result<Option<PemPair>, Error> {
        let Some(kept) = self.configs(PAIR).await?.remove("") else {
            return Ok(None);
        };
        let kept: Value = serde_json::from_str(&kept).unwrap_or_default();
        match (kept["certificate"].as_str(), kept["key"].as_str()) {
            (Some(certificate), Some(key)) => Ok(Some(PemPair {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
            })),
            _ => Err(Error::Internal(format!(
                "the row {PAIR} of cluster_configs is damaged"
            ))),
        }
    }

    pub async fn put_datastore_pair(&self, pair: &PemPair) -> Result<(), Error> {
        let value = json!({"certificate": pair.certificate, "key": pair.key}).to_string();
        let params = vec![Param::Text(PAIR), Param::Text(&value)];
        self.change(&[(schema::PUT_CONFIG, params)]).await.map(drop)
    }
}
