//! Authentication and permissions: users, roles, permissions and tokens, as in etcd (`server/auth`). Pure but for the
//! bookkeeping of tokens.
//!
//! The stored form is settings in the spaces `Auth`, `User` and `Role`. `Rules` is that, compiled for quick checks; a
//! `Caller` is the sender of a request, checked against the rules that its node has. These may be outdated, so a write
//! carries the revision of the rules to the writer, which refuses it if that is not the current one; a read is checked
//! against the rules once more when its node has caught up.

mod caller;
mod change;
mod jwt;
mod password;
mod ranges;
mod rules;
mod simple_token;
mod token;

pub use self::{
    caller::Caller,
    change::{Change, change},
    jwt::{Jwt, KeyError, SignMethod},
    password::{DEFAULT_COST, MAX_COST, MIN_COST, hash_password, is_password},
    rules::{ROOT, Rules, TOKEN_SECRET, enforced_revision, find_role, find_user, names, revision},
    simple_token::DEFAULT_TTL,
    token::{TokenOptions, Tokens, UnixSeconds},
};

/// The options that an operator chooses.
#[derive(Debug, Clone)]
pub struct AuthOptions {
    pub tokens: TokenOptions,
    pub bcrypt_cost: u32,
}

/// Named as in etcd; `api::status` gives each its code and text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("root user does not exist")]
    RootUserMissing,
    #[error("root user does not have root role")]
    RootRoleMissing,
    #[error("user name already exists")]
    UserExists,
    #[error("user name is empty")]
    UserEmpty,
    #[error("user name not found")]
    UserNotFound,
    #[error("role name already exists")]
    RoleExists,
    #[error("role name not found")]
    RoleNotFound,
    #[error("role name is empty")]
    RoleEmpty,
    #[error("authentication failed, invalid user ID or password")]
    Failed,
    #[error("password was given for no password user")]
    NoPasswordUser,
    #[error("password is longer than 72 bytes")]
    PasswordTooLong,
    #[error("permission not given")]
    PermissionNotGiven,
    #[error("permission denied")]
    PermissionDenied,
    #[error("role is not granted to the user")]
    RoleNotGranted,
    #[error("permission is not granted to the role")]
    PermissionNotGranted,
    #[error("authentication is not enabled")]
    NotEnabled,
    #[error("invalid auth token")]
    InvalidToken,
    /// The node has the public key only.
    #[error("token signing attempted with verify-only key")]
    VerifyOnly,
    #[error("OpenSSL did not sign the token: check the key of --auth-token")]
    NotSigned,
    #[error("invalid auth management")]
    InvalidManagement,
    /// Something has changed since the request was held against the rules.
    #[error("revision of auth store is old")]
    OldRevision,
}
