//! The settings of authentication, compiled for checks.

use std::collections::HashMap;

use bytes::Bytes;
use etcd_proto::authpb::{Permission, Role, User, permission::Type};
use prost::Message;

use super::{AuthError, ranges::Ranges};
use crate::settings::{Settings, Space};

/// The user who may do everything, and the role that makes a user so.
pub const ROOT: &str = "root";

/// Names in `Space::Auth`. The first two are etcd's, which finds them in a snapshot: one byte,
/// which is 1 while authentication is on; its revision in 8 bytes, big-endian.
pub(super) const ENABLED: &[u8] = b"authEnabled";
pub(super) const REVISION: &[u8] = b"authRevision";

/// The key that signs tokens, which is in no snapshot.
pub const TOKEN_SECRET: &[u8] = b"tokenSecret";

const IS_ON: &[u8] = &[1];

/// The revision of a store without users, as in etcd.
const FIRST_REVISION: u64 = 1;

#[derive(Debug, Default)]
pub struct Rules {
    pub is_enabled: bool,
    /// Goes up with each change, also while authentication is off.
    pub revision: u64,
    /// Signs tokens.
    pub(super) secret: Bytes,
    /// Empty while authentication is off.
    users: HashMap<String, UserRules>,
}

#[derive(Debug)]
pub struct UserRules {
    pub is_root: bool,
    pub roles: Vec<String>,
    /// A bcrypt hash; empty for a user without a password.
    pub password: Bytes,
    pub has_no_password: bool,
    pub(super) readable: Ranges,
    pub(super) writable: Ranges,
}

impl Rules {
    pub fn new(settings: &Settings) -> Self {
        let revision = revision(settings);
        if !is_enabled(settings) {
            return Self {
                revision,
                ..Self::default()
            };
        }
        let secret = settings.get(Space::Auth, TOKEN_SECRET).cloned();
        let users = settings
            .iter(Space::User)
            .filter_map(|(name, _)| {
                let name = std::str::from_utf8(name).ok()?;
                let user = find_user(settings, name)?;
                Some((name.to_owned(), UserRules::new(settings, user)))
            })
            .collect();
        Self {
            is_enabled: true,
            revision,
            secret: secret.unwrap_or_default(),
            users,
        }
    }

    /// Returns whether there is a secret to sign tokens with: a store that was restored has none.
    pub fn has_secret(&self) -> bool {
        !self.secret.is_empty()
    }

    pub fn user(&self, name: &str) -> Option<&UserRules> {
        self.users.get(name)
    }

    /// Returns the user's password hash, if they may sign in with a password at all.
    pub fn password_of(&self, name: &str) -> Result<Bytes, AuthError> {
        if !self.is_enabled {
            return Err(AuthError::NotEnabled);
        }
        let user = self.user(name).ok_or(AuthError::Failed)?;
        if user.has_no_password {
            return Err(AuthError::NoPasswordUser);
        }
        Ok(user.password.clone())
    }
}

impl UserRules {
    fn new(settings: &Settings, user: User) -> Self {
        let roles: Vec<Role> = user
            .roles
            .iter()
            .filter_map(|name| find_role(settings, name))
            .collect();
        let permissions: Vec<&Permission> =
            roles.iter().flat_map(|role| &role.key_permission).collect();
        let granted = |wanted: Type| {
            let matching = permissions.iter().filter(|permission| {
                let granted = permission.perm_type();
                granted == wanted || granted == Type::Readwrite
            });
            Ranges::new(matching.map(|permission| (&permission.key, &permission.range_end)))
        };
        Self {
            is_root: user.roles.iter().any(|role| role == ROOT),
            readable: granted(Type::Read),
            writable: granted(Type::Write),
            roles: user.roles,
            password: user.password,
            has_no_password: user.options.is_some_and(|options| options.no_password),
        }
    }
}

pub fn is_enabled(settings: &Settings) -> bool {
    settings
        .get(Space::Auth, ENABLED)
        .is_some_and(|value| value == IS_ON)
}

/// The revision of the rules that requests must have been checked against; none while authentication is off.
pub fn enforced_revision(settings: &Settings) -> Option<u64> {
    is_enabled(settings).then(|| revision(settings))
}

pub fn revision(settings: &Settings) -> u64 {
    settings
        .get(Space::Auth, REVISION)
        .and_then(|stored| <[u8; 8]>::try_from(&stored[..]).ok())
        .map_or(FIRST_REVISION, u64::from_be_bytes)
}

pub fn find_user(settings: &Settings, name: &str) -> Option<User> {
    let stored = settings.get(Space::User, name.as_bytes())?;
    User::decode(stored.clone()).ok()
}

pub fn find_role(settings: &Settings, name: &str) -> Option<Role> {
    let stored = settings.get(Space::Role, name.as_bytes())?;
    Role::decode(stored.clone()).ok()
}

/// Names of a space in order.
pub fn names(settings: &Settings, space: Space) -> Vec<String> {
    settings
        .iter(space)
        .map(|(name, _)| String::from_utf8_lossy(name).into_owned())
        .collect()
}
