//! Users, roles and what they may do.

mod certificates;
mod commands;
mod jwt;
pub mod management;
mod nodes;
mod permissions;
mod recipes;
mod tokens;
mod turns;

use etcd_proto::{
    authpb::{Permission, UserAddOptions, permission::Type},
    etcdserverpb::*,
};
use tonic::{Code, Status};

use crate::harness::*;

/// Cheap passwords: what they cost is not what is tested.
fn cheap() -> Options {
    Options::flags(&["--bcrypt-cost=4"])
}

fn user_add(name: &str, password: &str) -> AuthUserAddRequest {
    AuthUserAddRequest {
        name: name.to_owned(),
        password: password.to_owned(),
        ..Default::default()
    }
}

fn user_without_password(name: &str) -> AuthUserAddRequest {
    AuthUserAddRequest {
        options: Some(UserAddOptions { no_password: true }),
        ..user_add(name, "")
    }
}

fn user_delete(name: &str) -> AuthUserDeleteRequest {
    AuthUserDeleteRequest {
        name: name.to_owned(),
    }
}

fn user_get(name: &str) -> AuthUserGetRequest {
    AuthUserGetRequest {
        name: name.to_owned(),
    }
}

fn change_password(name: &str, password: &str) -> AuthUserChangePasswordRequest {
    AuthUserChangePasswordRequest {
        name: name.to_owned(),
        password: password.to_owned(),
        ..Default::default()
    }
}

fn grant_role(user: &str, role: &str) -> AuthUserGrantRoleRequest {
    AuthUserGrantRoleRequest {
        user: user.to_owned(),
        role: role.to_owned(),
    }
}

fn revoke_role(name: &str, role: &str) -> AuthUserRevokeRoleRequest {
    AuthUserRevokeRoleRequest {
        name: name.to_owned(),
        role: role.to_owned(),
    }
}

fn role_add(name: &str) -> AuthRoleAddRequest {
    AuthRoleAddRequest {
        name: name.to_owned(),
    }
}

fn role_get(role: &str) -> AuthRoleGetRequest {
    AuthRoleGetRequest {
        role: role.to_owned(),
    }
}

fn role_delete(role: &str) -> AuthRoleDeleteRequest {
    AuthRoleDeleteRequest {
        role: role.to_owned(),
    }
}

pub fn permission(kind: Type, key: &'static str, range_end: &'static str) -> Permission {
    Permission {
        perm_type: kind.into(),
        key: key.into(),
        range_end: range_end.into(),
    }
}

fn grant_permission(role: &str, permission: Permission) -> AuthRoleGrantPermissionRequest {
    AuthRoleGrantPermissionRequest {
        name: role.to_owned(),
        perm: Some(permission),
    }
}

pub fn authenticate(name: &str, password: &str) -> AuthenticateRequest {
    AuthenticateRequest {
        name: name.to_owned(),
        password: password.to_owned(),
    }
}

/// Returns the same connection, signed in as a user whose password is their name.
pub async fn sign_in(api: &Api, name: &str) -> Api {
    let answer = api.ask(authenticate(name, name)).await;
    api.with_token(&answer.token)
}

/// Adds a user whose password is their name.
pub async fn add_user(api: &Api, name: &str, roles: &[&str]) {
    api.ask(user_add(name, name)).await;
    for role in roles {
        api.ask(grant_role(name, role)).await;
    }
}

pub async fn add_role(api: &Api, name: &str, permissions: &[Permission]) {
    api.ask(role_add(name)).await;
    for permission in permissions {
        api.ask(grant_permission(name, permission.clone())).await;
    }
}

/// Switches authentication on; returns the same connection as root.
pub async fn enable(api: &Api) -> Api {
    add_user(api, "root", &["root"]).await;
    api.ask(AuthEnableRequest {}).await;
    sign_in(api, "root").await
}

/// A short word for how a request ended.
pub fn outcome<T>(result: &Result<T, Status>) -> &'static str {
    let Err(status) = result else { return "ok" };
    match (status.code(), status.message()) {
        (Code::PermissionDenied, "etcdserver: permission denied") => "denied",
        (Code::InvalidArgument, "etcdserver: user name is empty") => "nobody",
        (Code::Unauthenticated, "etcdserver: invalid auth token") => "bad token",
        // Let in, and refused for another reason.
        _ => "ok",
    }
}
