//! Requests of the services Lock and Election. None without a lease: the server would choose its id.

use bytes::Bytes;
use etcd_proto::etcdserverpb::LeaseGrantRequest;
use etcd_proto::v3electionpb::*;
use etcd_proto::v3lockpb::{LockRequest, UnlockRequest};
use rand::Rng;
use rand::rngs::StdRng;

use super::{key, pick, sometimes, ttl, value};
use crate::differential::operation::{ELECTED, Operation};

const NAMES: [&[u8]; 3] = [b"a", b"a", b"b"];

/// The leases that stand in line, and their names in keys.
const LEASES: [(i64, &str); 4] = [
    (1, "1"),
    (2, "2"),
    (i64::MAX, "7fffffffffffffff"),
    (-5, "-5"),
];

fn name(random: &mut StdRng) -> Bytes {
    match random.random_range(0..30) {
        0 => Bytes::new(),
        _ => Bytes::from_static(pick(random, &NAMES)),
    }
}

fn lease(random: &mut StdRng) -> (i64, &'static str) {
    match sometimes(random) {
        true => pick(random, &LEASES),
        false => pick(random, &LEASES[..2]),
    }
}

fn line_key(random: &mut StdRng) -> Bytes {
    [&name(random)[..], b"/", lease(random).1.as_bytes()]
        .concat()
        .into()
}

pub fn operation(random: &mut StdRng) -> Operation {
    match random.random_range(0..20) {
        // Without leases nobody stands in line.
        0..5 => Operation::LeaseGrant(LeaseGrantRequest {
            id: lease(random).0,
            ttl: match sometimes(random) {
                true => ttl(random),
                false => 5000,
            },
        }),
        5..9 => Operation::Lock(LockRequest {
            name: name(random),
            lease: lease(random).0,
        }),
        9..12 => Operation::Unlock(UnlockRequest {
            key: match sometimes(random) {
                true => key(random),
                false => line_key(random),
            },
        }),
        12..15 => Operation::Campaign(CampaignRequest {
            name: name(random),
            lease: lease(random).0,
            value: value(random),
        }),
        15 | 16 => Operation::Proclaim(ProclaimRequest {
            leader: leader(random),
            value: value(random),
        }),
        17 => Operation::Leader(LeaderRequest { name: name(random) }),
        18 => Operation::Observe(LeaderRequest { name: name(random) }),
        _ => Operation::Resign(ResignRequest {
            leader: leader(random),
        }),
    }
}

/// Rarely none, and mostly of the last election.
fn leader(random: &mut StdRng) -> Option<LeaderKey> {
    let lease = lease(random);
    let name = name(random);
    let key = [&name[..], b"/", lease.1.as_bytes()].concat();
    let leader = LeaderKey {
        key: match sometimes(random) {
            true => self::key(random),
            false => key.into(),
        },
        name,
        rev: match sometimes(random) {
            true => super::revision(random),
            false => ELECTED,
        },
        lease: lease.0,
    };
    (!random.random_bool(0.05)).then_some(leader)
}
