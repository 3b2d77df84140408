//! Tokens of the kind `simple`, of no meaning to others.
//!
//! A token carries the user's name and when it was issued, and is signed with a secret of the cluster
//! and the user's password hash. So every node can check it without asking another, and it ends with a
//! new password, with its user, and when authentication is switched off. As in etcd it is good for a
//! while after its last use; the last use is known to the node that saw it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use openssl::{hash::MessageDigest, memcmp, pkey::PKey, sign::Signer};

use super::{AuthError, UnixSeconds, rules::Rules};

/// etcd's `--auth-token-ttl`.
pub const DEFAULT_TTL: Duration = Duration::from_secs(300);

/// Tokens whose last use is remembered: some 200 bytes each. Without it a token ends a TTL after it
/// was issued, and its client signs in again.
const MAX_REMEMBERED: usize = 10_000;

const ISSUED_BYTES: usize = 8;

#[derive(Debug)]
pub struct SimpleTokens {
    ttl_s: u64,
    last_uses: Mutex<HashMap<String, UnixSeconds>>,
}

impl SimpleTokens {
    pub fn new(ttl: Duration) -> Self {
        Self {
            ttl_s: ttl.as_secs(),
            last_uses: Mutex::default(),
        }
    }

    /// Returns a token for a user who has proven who they are.
    pub fn issue(&self, rules: &Rules, user: &str, now: UnixSeconds) -> Result<String, AuthError> {
        let mut payload = now.to_be_bytes().to_vec();
        payload.extend_from_slice(user.as_bytes());
        let signature = sign(rules, user, &payload).ok_or(AuthError::Failed)?;
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        Ok(format!("{}.{}", encode(&payload), encode(&signature)))
    }

    /// Returns the user to whom a token belongs.
    pub fn user(&self, rules: &Rules, token: &str, now: UnixSeconds) -> Result<String, AuthError> {
        let (issued, user) = read(rules, token).ok_or(AuthError::InvalidToken)?;
        let mut last_uses = self
            .last_uses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_fresh = |since: UnixSeconds| now.saturating_sub(since) < self.ttl_s;
        match last_uses.get_mut(token) {
            Some(last_use) if is_fresh(*last_use) => {
                *last_use = now;
                return Ok(user);
            }
            _ if !is_fresh(issued) => {
                last_uses.remove(token);
                return Err(AuthError::InvalidToken);
            }
            _ => {}
        }
        if last_uses.len() >= MAX_REMEMBERED {
            last_uses.retain(|_, last_use| is_fresh(*last_use));
        }
        if last_uses.len() < MAX_REMEMBERED {
            last_uses.insert(token.to_owned(), now);
        }
        Ok(user)
    }
}

/// Returns the time at which a token was issued, and its user, if its signature is good.
fn read(rules: &Rules, token: &str) -> Option<(UnixSeconds, String)> {
    let (payload, signature) = token.split_once('.')?;
    let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).ok();
    let (payload, signature) = (decode(payload)?, decode(signature)?);
    let (issued, user) = payload.split_first_chunk::<ISSUED_BYTES>()?;
    let user = std::str::from_utf8(user).ok()?;
    let expected = sign(rules, user, &payload)?;
    let is_good = expected.len() == signature.len() && memcmp::eq(&expected, &signature);
    is_good.then(|| (UnixSeconds::from_be_bytes(*issued), user.to_owned()))
}

/// Returns the signature of a payload; `None` if there is no such user or no secret.
fn sign(rules: &Rules, user: &str, payload: &[u8]) -> Option<Vec<u8>> {
    let password = &rules.user(user)?.password;
    if rules.secret.is_empty() {
        return None;
    }
    let key = PKey::hmac(&rules.secret).ok()?;
    let mut signer = Signer::new(MessageDigest::sha256(), &key).ok()?;
    signer.update(password).ok()?;
    signer.update(payload).ok()?;
    signer.sign_to_vec().ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use etcd_proto::etcdserverpb::{
        AuthUserAddRequest, AuthUserChangePasswordRequest, AuthUserGrantRoleRequest,
    };

    use super::*;
    use crate::{
        auth::{Change, ROOT, change},
        settings::Settings,
    };

    const NOW: UnixSeconds = 1_800_000_000;
    const TTL_S: u64 = 300;

    struct Cluster {
        settings: Settings,
        tokens: SimpleTokens,
    }

    impl Cluster {
        fn new(secret: &'static str) -> Self {
            let mut cluster = Self {
                settings: Settings::default(),
                tokens: SimpleTokens::new(Duration::from_secs(TTL_S)),
            };
            let hashed_password = BASE64_URL_SAFE_NO_PAD.encode("hash");
            cluster.change(Change::UserAdd(AuthUserAddRequest {
                name: ROOT.to_owned(),
                hashed_password: format!("{hashed_password}=="),
                ..Default::default()
            }));
            cluster.change(Change::UserGrantRole(AuthUserGrantRoleRequest {
                user: ROOT.to_owned(),
                role: ROOT.to_owned(),
            }));
            let secret = Bytes::from_static(secret.as_bytes());
            cluster.change(Change::Enable { secret });
            cluster
        }

        fn change(&mut self, wanted: Change) {
            for setting in change(&self.settings, &wanted).unwrap() {
                self.settings.apply(setting);
            }
        }

        fn issue(&self) -> String {
            let rules = Rules::new(&self.settings);
            self.tokens.issue(&rules, ROOT, NOW).unwrap()
        }

        fn user(&self, token: &str, now: UnixSeconds) -> Result<String, AuthError> {
            self.tokens.user(&Rules::new(&self.settings), token, now)
        }
    }

    #[test]
    fn a_token_is_good_for_a_while_after_its_last_use() {
        let cluster = Cluster::new("secret");
        let token = cluster.issue();
        for uses in 1..5 {
            let now = NOW + uses * (TTL_S - 1);
            assert_eq!(cluster.user(&token, now).as_deref(), Ok(ROOT), "use {uses}");
        }
        let too_late = NOW + 4 * (TTL_S - 1) + TTL_S;
        assert_eq!(cluster.user(&token, too_late), Err(AuthError::InvalidToken));
        assert_eq!(
            cluster.user(&token, too_late + 1),
            Err(AuthError::InvalidToken)
        );
    }

    #[test]
    fn a_token_that_was_never_used_ends() {
        let cluster = Cluster::new("secret");
        let token = cluster.issue();
        assert_eq!(
            cluster.user(&token, NOW + TTL_S),
            Err(AuthError::InvalidToken)
        );
    }

    #[test]
    fn only_the_cluster_that_issued_a_token_takes_it() {
        let cluster = Cluster::new("secret");
        let token = cluster.issue();
        let other = Cluster::new("another");
        assert_eq!(other.user(&token, NOW), Err(AuthError::InvalidToken));
        // Another node of the same cluster has not seen it before.
        let node = Cluster::new("secret");
        assert_eq!(node.user(&token, NOW).as_deref(), Ok(ROOT));
    }

    #[test]
    fn no_part_of_a_token_can_be_changed() {
        let cluster = Cluster::new("secret");
        let token = cluster.issue();
        for at in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[at] = if forged[at] == b'B' { b'C' } else { b'B' };
            let forged = String::from_utf8(forged).unwrap();
            assert!(cluster.user(&forged, NOW).is_err(), "{forged}");
        }
        for nonsense in ["", ".", "a.b", "a", &token[1..]] {
            assert!(cluster.user(nonsense, NOW).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn a_new_password_ends_a_token_in_use() {
        let mut cluster = Cluster::new("secret");
        let token = cluster.issue();
        cluster.user(&token, NOW).unwrap();
        cluster.change(Change::UserChangePassword(AuthUserChangePasswordRequest {
            name: ROOT.to_owned(),
            hashed_password: String::new(),
            ..Default::default()
        }));
        assert_eq!(cluster.user(&token, NOW), Err(AuthError::InvalidToken));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let cluster = Cluster::new("secret");
        let rules = Rules::new(&cluster.settings);
        let issued = |at| cluster.tokens.issue(&rules, ROOT, at).unwrap();
        for second in 0..=MAX_REMEMBERED as u64 {
            let now = NOW + second;
            cluster.tokens.user(&rules, &issued(now), now).unwrap();
        }
        let remembered = cluster.tokens.last_uses.lock().unwrap().len();
        assert!(remembered <= TTL_S as usize, "{remembered}");
    }
}
