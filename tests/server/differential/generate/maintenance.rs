//! Requests of the services Cluster and Maintenance that change nothing.

use etcd_proto::etcdserverpb::downgrade_request::DowngradeAction;
use etcd_proto::etcdserverpb::*;
use rand::Rng;
use rand::rngs::StdRng;

use super::pick;
use crate::differential::operation::{OWN_MEMBER, Operation};

fn member(random: &mut StdRng) -> u64 {
    pick(random, &[0, 77, u64::MAX, OWN_MEMBER])
}

fn bad_urls(random: &mut StdRng) -> Vec<String> {
    let bad: [&[&str]; 6] = [
        &[],
        &[""],
        &["bad"],
        &["http://127.0.0.1"],
        &["http://127.0.0.1:1/path"],
        &["http://127.0.0.1:1", "ftp://127.0.0.1:1"],
    ];
    pick(random, &bad).iter().map(ToString::to_string).collect()
}

pub fn operation(random: &mut StdRng) -> Operation {
    match random.random_range(0..9) {
        0 => Operation::MemberAdd(MemberAddRequest {
            peer_ur_ls: bad_urls(random),
            is_learner: random.random_bool(0.5),
        }),
        1 => Operation::MemberRemove(MemberRemoveRequest { id: member(random) }),
        2 => Operation::MemberUpdate(MemberUpdateRequest {
            id: pick(random, &[0, 77]),
            peer_ur_ls: bad_urls(random),
        }),
        3 => Operation::MemberPromote(MemberPromoteRequest { id: member(random) }),
        4 => Operation::MoveLeader(MoveLeaderRequest {
            target_id: member(random),
        }),
        5 => {
            let actions = [DowngradeAction::Validate, DowngradeAction::Cancel].map(i32::from);
            let versions = ["", "3", "3.5", "3.5.0", "3.6.0", "3.7", "4.0.0", "x"];
            Operation::Downgrade(DowngradeRequest {
                action: pick(random, &actions),
                version: pick(random, &versions).to_owned(),
            })
        }
        6 => Operation::Defragment(DefragmentRequest {}),
        7 => Operation::Hash(HashRequest {}),
        _ => Operation::Snapshot(SnapshotRequest {}),
    }
}
