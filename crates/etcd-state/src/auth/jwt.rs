//! JSON web tokens (RFC 7519), as etcd makes and takes them (`server/auth/jwt.go`): `username`, the `revision` of the rules
//! of authentication, and `exp`, the second at which the token ends.
//!
//! Every node that has the key can check them, and so can an etcd that has it. The key comes from the operator, so that
//! nothing about tokens is stored or replicated. A token cannot be revoked: it is of no use for keys once the rules
//! have changed, and ends for the rest at its time.

mod method;

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use self::method::Keys;
pub use self::method::{KeyError, SignMethod};
use super::{AuthError, UnixSeconds};

/// Makes and checks tokens.
#[derive(Debug)]
pub struct Jwt {
    method: SignMethod,
    keys: Keys,
    ttl_s: u64,
}

/// The user and the revision of a good token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    pub user: String,
    pub revision: u64,
}

impl Jwt {
    /// Takes the content of key files. Without a private key tokens are checked and none are made.
    ///
    /// # Errors
    ///
    /// If the method cannot use the keys, or they do not belong together.
    pub fn new(
        method: SignMethod,
        private_key: Option<&[u8]>,
        public_key: Option<&[u8]>,
        ttl: Duration,
    ) -> Result<Self, KeyError> {
        Ok(Self {
            method,
            keys: Keys::read(method, private_key, public_key)?,
            ttl_s: ttl.as_secs(),
        })
    }

    pub(super) fn issue(
        &self,
        user: &str,
        revision: u64,
        now: UnixSeconds,
    ) -> Result<String, AuthError> {
        let exp = now.saturating_add(self.ttl_s);
        let header = json!({"alg": self.method.name(), "typ": "JWT"});
        let claims = json!({"exp": exp, "revision": revision, "username": user});
        let [header, claims] = [header, claims].map(|part| encode(part.to_string().as_bytes()));
        let signed = format!("{header}.{claims}");
        let signature = self.keys.sign(self.method, signed.as_bytes())?;
        Ok(format!("{signed}.{}", encode(&signature)))
    }

    pub(super) fn check(&self, token: &str, now: UnixSeconds) -> Result<Claims, AuthError> {
        self.read(token, now).ok_or(AuthError::InvalidToken)
    }

    /// Returns whether a good token is of newer rules than those of a revision. Costs little if it is not.
    pub(super) fn is_newer(&self, revision: u64, token: &str, now: UnixSeconds) -> bool {
        // The signature is checked last: it costs more than the rest.
        claimed_revision(token).is_some_and(|claimed| claimed > revision)
            && self.check(token, now).is_ok()
    }

    fn read(&self, token: &str, now: UnixSeconds) -> Option<Claims> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header = object(header)?;
        // Never another method: one that needs no key would let everybody in.
        if header.get("alg")? != self.method.name() {
            return None;
        }
        let signature = decode(signature)?;
        if !self.keys.verify(self.method, signed.as_bytes(), &signature) {
            return None;
        }
        let claims = object(claims)?;
        let is_valid = second(&claims, "exp")?.is_none_or(|exp| (now as f64) < exp)
            && second(&claims, "nbf")?.is_none_or(|nbf| now as f64 >= nbf);
        is_valid.then_some(())?;
        Some(Claims {
            user: claims.get("username")?.as_str()?.to_owned(),
            revision: revision_of(&claims)?,
        })
    }
}

fn revision_of(claims: &Map<String, Value>) -> Option<u64> {
    Some(claims.get("revision")?.as_f64()? as u64)
}

/// Returns the revision that a token names, which may be forged.
fn claimed_revision(token: &str) -> Option<u64> {
    let mut parts = token.split('.');
    let claims = parts.nth(1)?;
    revision_of(&object(claims)?)
}

/// Returns a time of the claims, in seconds since 1970. None is no time, as is 0; outside of that is what is not one.
fn second(claims: &Map<String, Value>, name: &str) -> Option<Option<f64>> {
    let Some(value) = claims.get(name) else {
        return Some(None);
    };
    let second = value.as_f64()?;
    Some((second != 0.0).then(|| second.floor()))
}

fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

fn object(text: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&decode(text)?).ok()
}

#[cfg(test)]
mod tests;
