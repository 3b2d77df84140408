//! Join tokens: what a new node has to know to find the cluster, to be sure that it is the right one, and to
//! be let in.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use crate::Error;

/// Bytes of a token: some dozen addresses.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// 64 hexadecimal digits.
    pub secret: String,
    /// The fingerprint of the cluster's certificate.
    pub fingerprint: String,
    pub join_addresses: Vec<String>,
}

impl std::fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinToken")
            .field("join_addresses", &self.join_addresses)
            .finish_non_exhaustive()
    }
}

impl JoinToken {
    pub fn encode(&self) -> String {
        STANDARD.encode(serde_json::to_vec(self).expect("texts become JSON"))
    }

    pub fn decode(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let invalid = |reason: &str| Error::Invalid(format!("Invalid join token: {reason}"));
        if text.len() > MAX_TOKEN_BYTES {
            return Err(invalid("it is too long"));
        }
        let json = STANDARD
            .decode(text)
            .map_err(|_| invalid("it is not base64"))?;
        let token: Self =
            serde_json::from_slice(&json).map_err(|_| invalid("it is not a token of a cluster"))?;
        let is_hex = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_hex(&token.secret) || !is_hex(&token.fingerprint) {
            return Err(invalid(
                "secret or fingerprint is not 64 hexadecimal digits",
            ));
        }
        if token.join_addresses.is_empty() {
            return Err(invalid("it names no address"));
        }
        Ok(token)
    }
}

/// A secret of 256 bits.
pub fn new_secret() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_survives_its_way_and_does_not_show_its_secret() {
        let token = JoinToken {
            secret: new_secret(),
            fingerprint: "ab".repeat(32),
            join_addresses: vec!["10.0.0.1:6400".to_owned()],
        };
        assert_eq!(
            JoinToken::decode(&format!("{}\n", token.encode())).unwrap(),
            token
        );
        assert!(!format!("{token:?}").contains(&token.secret));
        let without = JoinToken {
            join_addresses: vec![],
            ..token.clone()
        };
        assert!(JoinToken::decode(&without.encode()).is_err());
        let short = JoinToken {
            secret: "ab".to_owned(),
            ..token
        };
        assert!(JoinToken::decode(&short.encode()).is_err());
    }

    proptest! {
        #[test]
        fn no_text_is_more_than_refused(text in ".*", json in ".*") {
            let _ = JoinToken::decode(&text);
            prop_assert!(JoinToken::decode(&STANDARD.encode(json)).is_err());
        }
    }
}
