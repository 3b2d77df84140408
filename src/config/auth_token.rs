//! The kind of tokens, and the key files of JSON web tokens, which are anywhere.

use std::{path::Path, sync::Arc};

use etcd_state::auth::{Jwt, KeyError, TokenOptions};

use super::{ConfigError, bounded};
use crate::args::{AuthFlags, JwtFlags, TokenKind};

pub(super) fn load(flags: &AuthFlags) -> Result<TokenOptions, ConfigError> {
    match &flags.auth_token {
        TokenKind::Simple => Ok(TokenOptions::Simple {
            ttl: flags.auth_token_ttl,
        }),
        TokenKind::Jwt(jwt) => jwt_of(jwt).map(Arc::new).map(TokenOptions::Jwt),
    }
}

fn jwt_of(flags: &JwtFlags) -> Result<Jwt, ConfigError> {
    let private_key = flags.private_key.as_deref().map(read).transpose()?;
    let public_key = flags.public_key.as_deref().map(read).transpose()?;
    let jwt = Jwt::new(
        flags.method,
        private_key.as_deref(),
        public_key.as_deref(),
        flags.ttl,
    );
    jwt.map_err(|error| {
        let path = match &error {
            KeyError::Public(_) | KeyError::Mismatch => &flags.public_key,
            KeyError::Private(_) | KeyError::Missing(_) => &flags.private_key,
        };
        match path {
            Some(path) => ConfigError::Invalid {
                path: path.clone(),
                reason: format!("--auth-token: {error}"),
            },
            None => ConfigError::AuthToken(error),
        }
    })
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    bounded::read(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })
}
