//! Requests of the Auth service, and who makes them.

use etcd_proto::authpb::{Permission, UserAddOptions};
use etcd_proto::etcdserverpb::*;
use rand::Rng;
use rand::rngs::StdRng;

use super::{key, pick, range_end};
use crate::differential::callers::CHOICES;
use crate::differential::operation::Operation;

/// Such that guesses are often right.
const PASSWORDS: [&str; 3] = ["secret", "secret", "other"];

fn add(name: &str) -> Operation {
    Operation::UserAdd(AuthUserAddRequest {
        name: name.to_owned(),
        password: PASSWORDS[0].to_owned(),
        ..Default::default()
    })
}

fn grant(user: &str, role: &str) -> Operation {
    Operation::UserGrantRole(AuthUserGrantRoleRequest {
        user: user.to_owned(),
        role: role.to_owned(),
    })
}

fn authenticate(name: &str, password: &str) -> Operation {
    Operation::Authenticate(AuthenticateRequest {
        name: name.to_owned(),
        password: password.to_owned(),
    })
}

/// A root and somebody with one permission or two, both with a token.
pub fn beginning(random: &mut StdRng) -> Vec<Operation> {
    let mut steps = vec![add("root"), grant("root", "root"), add("u")];
    steps.push(Operation::RoleAdd(AuthRoleAddRequest {
        name: "r".to_owned(),
    }));
    for _ in 0..random.random_range(1..3) {
        steps.push(Operation::RoleGrantPermission(
            AuthRoleGrantPermissionRequest {
                name: "r".to_owned(),
                perm: Some(permission(random)),
            },
        ));
    }
    steps.push(grant("u", "r"));
    steps.push(Operation::AuthEnable(AuthEnableRequest {}));
    steps.push(authenticate("root", PASSWORDS[0]));
    steps.push(authenticate("u", PASSWORDS[0]));
    steps.push(switch(random));
    steps
}

pub fn switch(random: &mut StdRng) -> Operation {
    let caller = match random.random_bool(0.6) {
        true => random.random_range(0..2),
        false => random.random_range(0..CHOICES),
    };
    Operation::Become { caller }
}

fn name(random: &mut StdRng) -> String {
    match random.random_range(0..30) {
        0 => String::new(),
        _ => pick(random, &["u", "r", "root"]).to_owned(),
    }
}

pub fn operation(random: &mut StdRng) -> Operation {
    match random.random_range(0..26) {
        20 => Operation::AuthEnable(AuthEnableRequest {}),
        21 => Operation::AuthDisable(AuthDisableRequest {}),
        22..24 => authenticate(&name(random), pick(random, &PASSWORDS)),
        24 => Operation::UserChangePassword(AuthUserChangePasswordRequest {
            name: name(random),
            password: pick(random, &PASSWORDS).to_owned(),
            ..Default::default()
        }),
        0 => Operation::AuthStatus(AuthStatusRequest {}),
        1..3 => Operation::UserAdd(AuthUserAddRequest {
            name: name(random),
            password: match random.random_bool(0.4) {
                true => "secret".to_owned(),
                false => String::new(),
            },
            options: random.random_bool(0.9).then(|| UserAddOptions {
                no_password: random.random_bool(0.5),
            }),
            hashed_password: String::new(),
        }),
        3 => Operation::UserGet(AuthUserGetRequest { name: name(random) }),
        4 => Operation::UserList(AuthUserListRequest {}),
        5 => Operation::UserDelete(AuthUserDeleteRequest { name: name(random) }),
        6..9 => Operation::UserGrantRole(AuthUserGrantRoleRequest {
            user: name(random),
            role: name(random),
        }),
        9 => Operation::UserRevokeRole(AuthUserRevokeRoleRequest {
            name: name(random),
            role: name(random),
        }),
        10..13 => Operation::RoleAdd(AuthRoleAddRequest { name: name(random) }),
        13 => Operation::RoleGet(AuthRoleGetRequest { role: name(random) }),
        14 => Operation::RoleList(AuthRoleListRequest {}),
        15 => Operation::RoleDelete(AuthRoleDeleteRequest { role: name(random) }),
        16..19 => Operation::RoleGrantPermission(AuthRoleGrantPermissionRequest {
            name: name(random),
            perm: random.random_bool(0.98).then(|| permission(random)),
        }),
        19 => {
            let permission = permission(random);
            Operation::RoleRevokePermission(AuthRoleRevokePermissionRequest {
                role: name(random),
                key: permission.key,
                range_end: permission.range_end,
            })
        }
        _ => switch(random),
    }
}

fn permission(random: &mut StdRng) -> Permission {
    let key = key(random);
    Permission {
        perm_type: random.random_range(0..3),
        range_end: range_end(random, &key),
        key,
    }
}
