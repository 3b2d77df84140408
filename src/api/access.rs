//! Finds out who sends a request: the one place that reads tokens and the names in client
//! certificates.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use etcd_state::auth::{AuthError, Caller, Rules, Tokens};
use tonic::{Extensions, Request, codegen::http::HeaderMap, metadata::MetadataMap};

use super::Peer;
use crate::store::Store;

/// The metadata keys under which clients send their token; the second is for the JSON gateway.
const TOKEN_KEYS: [&str; 2] = ["token", "authorization"];

/// Set by etcd's JSON gateway: the certificate of a connection through it is not the client's.
const GATEWAY_KEY: &str = "grpcgateway-accept";

pub struct Access {
    pub rules: Arc<ArcSwap<Rules>>,
    pub tokens: Tokens,
}

impl Access {
    pub fn is_enabled(&self) -> bool {
        self.rules.load().is_enabled
    }

    /// The store for a request that is held against the rules next. This comes first: rules that are newer
    /// than what the writer is told only make it refuse.
    pub fn gate(&self, store: &Store) -> Store {
        store.let_in_at(self.rules.load().revision)
    }

    /// Returns the caller of a request; none while authentication is off, when everybody may do
    /// everything.
    pub fn caller<T>(&self, request: &Request<T>) -> Result<Option<Caller>, AuthError> {
        self.caller_of(request.metadata(), request.extensions())
    }

    pub fn caller_of(
        &self,
        metadata: &MetadataMap,
        extensions: &Extensions,
    ) -> Result<Option<Caller>, AuthError> {
        let rules = self.rules.load();
        if !rules.is_enabled {
            return Ok(None);
        }
        self.identify(&rules, metadata, extensions).map(Some)
    }

    /// Returns whether a request comes with a good token of rules that are newer than those of this node.
    pub fn is_behind(&self, headers: &HeaderMap) -> bool {
        let Some(Ok(token)) = token_of(headers) else {
            return false;
        };
        let revision = self.rules.load().revision;
        self.tokens.is_newer(revision, token, unix_seconds())
    }

    fn identify(
        &self,
        rules: &Arc<Rules>,
        metadata: &MetadataMap,
        extensions: &Extensions,
    ) -> Result<Caller, AuthError> {
        if let Some(token) = token_of(metadata.as_ref()) {
            let token = token?;
            let bearer = self.tokens.bearer(rules, token, unix_seconds())?;
            return Ok(Caller::with_token(rules.clone(), bearer));
        }
        if metadata.contains_key(GATEWAY_KEY) {
            return Ok(Caller::new(rules.clone(), None));
        }
        let peer = extensions.get::<Peer>();
        let user = peer.and_then(Peer::common_name).map(str::to_owned);
        Ok(Caller::new(rules.clone(), user))
    }
}

/// Returns the token of a request, if it has one.
fn token_of(headers: &HeaderMap) -> Option<Result<&str, AuthError>> {
    let token = TOKEN_KEYS.iter().find_map(|key| headers.get(*key))?;
    let token = token.to_str().map_err(|_| AuthError::InvalidToken);
    Some(token.map(|token| token.strip_prefix("Bearer ").unwrap_or(token)))
}

/// The caller that opened a stream. It is checked again for each request on the stream.
pub struct StreamCaller {
    pub access: Arc<Access>,
    pub metadata: MetadataMap,
    pub extensions: Extensions,
}

impl StreamCaller {
    pub fn caller(&self) -> Result<Option<Caller>, AuthError> {
        self.access.caller_of(&self.metadata, &self.extensions)
    }
}

pub fn unix_seconds() -> u64 {
    // A clock before 1970 makes all tokens old, which is safe.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
