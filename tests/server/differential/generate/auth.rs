//! Requests of the Auth service, but those that need a token afterwards.

use etcd_proto::authpb::{Permission, UserAddOptions};
use etcd_proto::etcdserverpb::*;
use rand::Rng;
use rand::rngs::StdRng;

use super::{key, pick, range_end, sometimes};
use crate::differential::operation::Operation;

fn name(random: &mut StdRng) -> String {
    match random.random_range(0..30) {
        0 => String::new(),
        _ => pick(random, &["u", "r", "root"]).to_owned(),
    }
}

pub fn operation(random: &mut StdRng) -> Operation {
    match random.random_range(0..20) {
        0 => Operation::AuthStatus(AuthStatusRequest {}),
        1..3 => Operation::UserAdd(AuthUserAddRequest {
            name: name(random),
            // A password costs the servers a tenth of a second.
            password: match sometimes(random) {
                true => "secret".to_owned(),
                false => String::new(),
            },
            options: random.random_bool(0.9).then(|| UserAddOptions {
                no_password: random.random_bool(0.9),
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
        _ => {
            let permission = permission(random);
            Operation::RoleRevokePermission(AuthRoleRevokePermissionRequest {
                role: name(random),
                key: permission.key,
                range_end: permission.range_end,
            })
        }
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
