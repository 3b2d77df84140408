//! Changes of users, roles and permissions, with etcd's rules (`server/auth/store.go`).

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use etcd_proto::{
    authpb::{Permission, Role, User},
    etcdserverpb::{
        AuthRoleAddRequest, AuthRoleDeleteRequest, AuthRoleGrantPermissionRequest,
        AuthRoleRevokePermissionRequest, AuthUserAddRequest, AuthUserChangePasswordRequest,
        AuthUserDeleteRequest, AuthUserGrantRoleRequest, AuthUserRevokeRoleRequest,
    },
};
use prost::Message;

use super::{
    AuthError,
    rules::{self, ENABLED, REVISION, ROOT, TOKEN_SECRET, find_role, find_user, is_enabled},
};
use crate::settings::{SettingChange, Settings, Space};

/// A request that changes something. Passwords are hashed already: they come in `hashed_password`.
#[derive(Debug, Clone)]
pub enum Change {
    Enable {
        secret: Bytes,
    },
    /// Sets the secret if there is none.
    SetSecret {
        secret: Bytes,
    },
    Disable,
    UserAdd(AuthUserAddRequest),
    UserDelete(AuthUserDeleteRequest),
    UserChangePassword(AuthUserChangePasswordRequest),
    UserGrantRole(AuthUserGrantRoleRequest),
    UserRevokeRole(AuthUserRevokeRoleRequest),
    RoleAdd(AuthRoleAddRequest),
    RoleDelete(AuthRoleDeleteRequest),
    RoleGrantPermission(AuthRoleGrantPermissionRequest),
    RoleRevokePermission(AuthRoleRevokePermissionRequest),
}

type Changes = Result<Vec<SettingChange>, AuthError>;

/// Returns the changes that a request makes; none if the state is already as requested.
pub fn change(settings: &Settings, change: &Change) -> Changes {
    let mut changes = match change {
        Change::Enable { secret } => return enable(settings, secret),
        Change::SetSecret { secret } => return Ok(set_secret(settings, secret)),
        Change::Disable => disable(settings),
        Change::UserAdd(request) => user_add(settings, request)?,
        Change::UserDelete(request) => user_delete(settings, request)?,
        Change::UserChangePassword(request) => user_change_password(settings, request)?,
        Change::UserGrantRole(request) => user_grant_role(settings, request)?,
        Change::UserRevokeRole(request) => user_revoke_role(settings, request)?,
        Change::RoleAdd(request) => role_add(settings, request)?,
        Change::RoleDelete(request) => role_delete(settings, request)?,
        Change::RoleGrantPermission(request) => role_grant_permission(settings, request)?,
        Change::RoleRevokePermission(request) => role_revoke_permission(settings, request)?,
    };
    if !changes.is_empty() {
        let revision = rules::revision(settings) + 1;
        changes.push(set_auth(REVISION, Some(revision.to_be_bytes().to_vec())));
    }
    Ok(changes)
}

fn enable(settings: &Settings, secret: &Bytes) -> Changes {
    if is_enabled(settings) {
        return Ok(Vec::new());
    }
    let root = find_user(settings, ROOT).ok_or(AuthError::RootUserMissing)?;
    if !root.roles.iter().any(|role| role == ROOT) {
        return Err(AuthError::RootRoleMissing);
    }
    Ok(vec![
        set_auth(ENABLED, Some(vec![1])),
        // A new one each time, so that no old token works again.
        set_auth(TOKEN_SECRET, Some(secret.to_vec())),
    ])
}

fn set_secret(settings: &Settings, secret: &Bytes) -> Vec<SettingChange> {
    if !is_enabled(settings) || settings.get(Space::Auth, TOKEN_SECRET).is_some() {
        return Vec::new();
    }
    vec![set_auth(TOKEN_SECRET, Some(secret.to_vec()))]
}

fn disable(settings: &Settings) -> Vec<SettingChange> {
    if !is_enabled(settings) {
        return Vec::new();
    }
    vec![set_auth(ENABLED, None), set_auth(TOKEN_SECRET, None)]
}

fn user_add(settings: &Settings, request: &AuthUserAddRequest) -> Changes {
    if request.name.is_empty() {
        return Err(AuthError::UserEmpty);
    }
    if find_user(settings, &request.name).is_some() {
        return Err(AuthError::UserExists);
    }
    let options = request.options.unwrap_or_default();
    let password = if options.no_password {
        Bytes::new()
    } else {
        decode_hash(&request.hashed_password)?
    };
    Ok(vec![set_user(User {
        name: request.name.clone().into(),
        password,
        roles: Vec::new(),
        options: Some(options),
    })])
}

fn user_delete(settings: &Settings, request: &AuthUserDeleteRequest) -> Changes {
    if is_enabled(settings) && request.name == ROOT {
        return Err(AuthError::InvalidManagement);
    }
    find_user(settings, &request.name).ok_or(AuthError::UserNotFound)?;
    Ok(vec![SettingChange {
        space: Space::User,
        name: request.name.clone().into(),
        value: None,
    }])
}

fn user_change_password(settings: &Settings, request: &AuthUserChangePasswordRequest) -> Changes {
    let mut user = find_user(settings, &request.name).ok_or(AuthError::UserNotFound)?;
    user.password = if user.options.is_some_and(|options| options.no_password) {
        Bytes::new()
    } else {
        decode_hash(&request.hashed_password)?
    };
    Ok(vec![set_user(user)])
}

fn decode_hash(hashed_password: &str) -> Result<Bytes, AuthError> {
    match BASE64_STANDARD.decode(hashed_password) {
        Ok(hash) => Ok(hash.into()),
        Err(_) => Err(AuthError::NoPasswordUser),
    }
}

fn user_grant_role(settings: &Settings, request: &AuthUserGrantRoleRequest) -> Changes {
    let mut user = find_user(settings, &request.user).ok_or(AuthError::UserNotFound)?;
    if request.role != ROOT && find_role(settings, &request.role).is_none() {
        return Err(AuthError::RoleNotFound);
    }
    match user.roles.binary_search(&request.role) {
        Ok(_) => Ok(Vec::new()),
        Err(at) => {
            user.roles.insert(at, request.role.clone());
            Ok(vec![set_user(user)])
        }
    }
}

fn user_revoke_role(settings: &Settings, request: &AuthUserRevokeRoleRequest) -> Changes {
    if is_enabled(settings) && request.name == ROOT && request.role == ROOT {
        return Err(AuthError::InvalidManagement);
    }
    let mut user = find_user(settings, &request.name).ok_or(AuthError::UserNotFound)?;
    if !remove_role(&mut user, &request.role) {
        return Err(AuthError::RoleNotGranted);
    }
    Ok(vec![set_user(user)])
}

fn remove_role(user: &mut User, role: &str) -> bool {
    let before = user.roles.len();
    user.roles.retain(|granted| granted != role);
    user.roles.len() < before
}

fn role_add(settings: &Settings, request: &AuthRoleAddRequest) -> Changes {
    if request.name.is_empty() {
        return Err(AuthError::RoleEmpty);
    }
    if find_role(settings, &request.name).is_some() {
        return Err(AuthError::RoleExists);
    }
    Ok(vec![set_role(Role {
        name: request.name.clone().into(),
        key_permission: Vec::new(),
    })])
}

fn role_delete(settings: &Settings, request: &AuthRoleDeleteRequest) -> Changes {
    if is_enabled(settings) && request.role == ROOT {
        return Err(AuthError::InvalidManagement);
    }
    find_role(settings, &request.role).ok_or(AuthError::RoleNotFound)?;
    let mut changes = vec![SettingChange {
        space: Space::Role,
        name: request.role.clone().into(),
        value: None,
    }];
    for name in rules::names(settings, Space::User) {
        if let Some(mut user) = find_user(settings, &name)
            && remove_role(&mut user, &request.role)
        {
            changes.push(set_user(user));
        }
    }
    Ok(changes)
}

fn role_grant_permission(settings: &Settings, request: &AuthRoleGrantPermissionRequest) -> Changes {
    let granted = request.perm.as_ref().ok_or(AuthError::PermissionNotGiven)?;
    if !is_valid_range(&granted.key, &granted.range_end) {
        return Err(AuthError::InvalidManagement);
    }
    let mut role = find_role(settings, &request.name).ok_or(AuthError::RoleNotFound)?;
    let permissions = &mut role.key_permission;
    let is_same =
        |held: &&mut Permission| (&held.key, &held.range_end) == (&granted.key, &granted.range_end);
    match permissions.iter_mut().find(is_same) {
        Some(held) => held.perm_type = granted.perm_type,
        None => {
            permissions.push(granted.clone());
            permissions.sort_by(|a, b| a.key.cmp(&b.key));
        }
    }
    Ok(vec![set_role(role)])
}

fn is_valid_range(key: &[u8], range_end: &[u8]) -> bool {
    !key.is_empty() && (range_end.is_empty() || range_end == [0] || key < range_end)
}

fn role_revoke_permission(
    settings: &Settings,
    request: &AuthRoleRevokePermissionRequest,
) -> Changes {
    let mut role = find_role(settings, &request.role).ok_or(AuthError::RoleNotFound)?;
    let before = role.key_permission.len();
    role.key_permission
        .retain(|held| (&held.key, &held.range_end) != (&request.key, &request.range_end));
    if role.key_permission.len() == before {
        return Err(AuthError::PermissionNotGranted);
    }
    Ok(vec![set_role(role)])
}

fn set_auth(name: &'static [u8], value: Option<Vec<u8>>) -> SettingChange {
    SettingChange {
        space: Space::Auth,
        name: Bytes::from_static(name),
        value: value.map(Bytes::from),
    }
}

fn set_user(user: User) -> SettingChange {
    SettingChange {
        space: Space::User,
        name: user.name.clone(),
        value: Some(user.encode_to_vec().into()),
    }
}

fn set_role(role: Role) -> SettingChange {
    SettingChange {
        space: Space::Role,
        name: role.name.clone(),
        value: Some(role.encode_to_vec().into()),
    }
}
