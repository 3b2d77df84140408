//! Tokens, which clients show after they have signed in: etcd's `--auth-token`.

use std::{sync::Arc, time::Duration};

use super::{AuthError, jwt::Jwt, rules::Rules, simple_token::SimpleTokens};

/// Seconds since 1970.
pub type UnixSeconds = u64;

/// The kind of tokens that an operator chooses.
#[derive(Debug, Clone)]
pub enum TokenOptions {
    /// Tokens that last for a while after their last use.
    Simple {
        ttl: Duration,
    },
    Jwt(Arc<Jwt>),
}

#[derive(Debug)]
pub enum Tokens {
    Simple(SimpleTokens),
    Jwt(Arc<Jwt>),
}

/// The user who shows a good token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    pub user: String,
    /// The revision of the rules for which the token is good; none if it ends with what it was issued for.
    pub auth_revision: Option<u64>,
}

impl Tokens {
    pub fn new(options: TokenOptions) -> Self {
        match options {
            TokenOptions::Simple { ttl } => Self::Simple(SimpleTokens::new(ttl)),
            TokenOptions::Jwt(jwt) => Self::Jwt(jwt),
        }
    }

    /// Returns a token for a user who has proven who they are.
    pub fn issue(&self, rules: &Rules, user: &str, now: UnixSeconds) -> Result<String, AuthError> {
        match self {
            Self::Simple(tokens) => tokens.issue(rules, user, now),
            Self::Jwt(jwt) => jwt.issue(user, rules.revision, now),
        }
    }

    /// Returns whether a good token is of newer rules than those of a revision.
    pub fn is_newer(&self, revision: u64, token: &str, now: UnixSeconds) -> bool {
        match self {
            // It names no revision.
            Self::Simple(_) => false,
            Self::Jwt(jwt) => jwt.is_newer(revision, token, now),
        }
    }

    /// Returns to whom a token belongs.
    pub fn bearer(
        &self,
        rules: &Rules,
        token: &str,
        now: UnixSeconds,
    ) -> Result<Bearer, AuthError> {
        match self {
            Self::Simple(tokens) => Ok(Bearer {
                user: tokens.user(rules, token, now)?,
                auth_revision: None,
            }),
            Self::Jwt(jwt) => {
                let claims = jwt.check(token, now)?;
                Ok(Bearer {
                    user: claims.user,
                    auth_revision: Some(claims.revision),
                })
            }
        }
    }
}
