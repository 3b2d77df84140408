//! Random sequences, drawn from few keys and from the numbers at which things change.

mod auth;
mod kv;
mod maintenance;
mod recipes;
mod watch;

use bytes::Bytes;
use etcd_proto::etcdserverpb::alarm_request::AlarmAction;
use etcd_proto::etcdserverpb::*;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::operation::{COMPACTED, CURRENT, OWN_MEMBER, Operation};

/// The keys: a dozen with the sentinel's. With more, etcd sorts in an order that nothing specifies.
const KEYS: [&[u8]; 11] = [
    b"\0",
    b"\0\0",
    b"a",
    b"a\0",
    b"aa",
    b"ab",
    b"b",
    b"b\xff",
    b"c",
    b"\xff",
    b"\xff\xff",
];

const VALUES: [&[u8]; 5] = [b"", b"1", b"2", b"\0", b"longer than the others"];

const LEASES: [i64; 4] = [1, 2, i64::MAX, -5];

/// The number of steps of a sequence.
const STEPS: std::ops::RangeInclusive<usize> = 4..=40;

const STREAMS: usize = 2;

/// The share of sequences that begin with users, and turn authentication on.
const WITH_AUTH: f64 = 0.25;

pub fn sequence(random: &mut StdRng) -> Vec<Operation> {
    let steps = random.random_range(STEPS);
    if !random.random_bool(WITH_AUTH) {
        return (0..steps).map(|_| operation(random)).collect();
    }
    let mut sequence = auth::beginning(random);
    for _ in 0..steps {
        if random.random_bool(0.25) {
            sequence.push(auth::switch(random));
        }
        sequence.push(operation(random));
    }
    sequence
}

pub fn operation(random: &mut StdRng) -> Operation {
    match random.random_range(0..100) {
        0..14 => Operation::Put(kv::put(random)),
        14..24 => recipes::operation(random),
        24..32 => Operation::Range(kv::range(random)),
        32..36 => Operation::RangeStream(kv::plain_range(random)),
        36..44 => Operation::DeleteRange(kv::delete_range(random)),
        44..64 => Operation::Txn(kv::txn(random, 0)),
        64..68 => Operation::Compact(CompactionRequest {
            revision: revision(random),
            physical: random.random_bool(0.5),
        }),
        68..71 => Operation::LeaseGrant(LeaseGrantRequest {
            id: lease(random),
            ttl: ttl(random),
        }),
        71..73 => Operation::LeaseRevoke(LeaseRevokeRequest { id: lease(random) }),
        73..75 => Operation::LeaseTimeToLive(LeaseTimeToLiveRequest {
            id: lease(random),
            keys: random.random_bool(0.7),
        }),
        75 => Operation::LeaseLeases(LeaseLeasesRequest {}),
        76 => Operation::LeaseKeepAlive(LeaseKeepAliveRequest { id: lease(random) }),
        77..80 => Operation::HashKv(HashKvRequest {
            revision: revision(random),
        }),
        80 => match random.random_range(0..6) {
            4 | 5 => maintenance::operation(random),
            0 => Operation::Status(StatusRequest {}),
            1 => Operation::MemberList(MemberListRequest {
                linearizable: random.random_bool(0.5),
            }),
            _ => Operation::Alarm(alarm(random)),
        },
        81..88 => auth::operation(random),
        _ => Operation::Watch {
            stream: random.random_range(0..STREAMS),
            request: watch::request(random),
        },
    }
}

fn pick<T: Copy>(random: &mut StdRng, of: &[T]) -> T {
    *of.choose(random).expect("there is one")
}

fn sometimes(random: &mut StdRng) -> bool {
    random.random_bool(0.15)
}

fn key(random: &mut StdRng) -> Bytes {
    match random.random_range(0..60) {
        0 => Bytes::new(),
        _ => Bytes::from_static(pick(random, &KEYS)),
    }
}

/// Returns no end, one that makes sense, or any.
fn range_end(random: &mut StdRng, key: &[u8]) -> Bytes {
    match random.random_range(0..10) {
        0..4 => Bytes::new(),
        4..6 => Bytes::from_static(b"\0"),
        6 => [key, b"\0"].concat().into(),
        7 => {
            let mut end = key.to_vec();
            if let Some(last) = end.last_mut() {
                *last = last.wrapping_add(1);
            }
            end.into()
        }
        _ => Bytes::from_static(pick(random, &KEYS)),
    }
}

fn value(random: &mut StdRng) -> Bytes {
    Bytes::from_static(pick(random, &VALUES))
}

/// Returns a revision that the sequence can know, or one at which code goes wrong.
fn revision(random: &mut StdRng) -> i64 {
    match random.random_range(0..20) {
        0..10 => CURRENT + random.random_range(-12..=1),
        10..15 => COMPACTED + random.random_range(-2..=3),
        15 | 16 => 0,
        17 => 1,
        _ => edge(random),
    }
}

fn edge(random: &mut StdRng) -> i64 {
    pick(random, &[i64::MIN, -1, 0, 1, 2, i64::MAX - 1, i64::MAX])
}

fn lease(random: &mut StdRng) -> i64 {
    match random.random_range(0..15) {
        0 => edge(random),
        _ => pick(random, &LEASES),
    }
}

fn ttl(random: &mut StdRng) -> i64 {
    match random.random_range(0..4) {
        0 => pick(random, &[9_000_000_000, 9_000_000_001, 7, 60]),
        1 => edge(random),
        _ => random.random_range(1000..100_000),
    }
}

fn alarm(random: &mut StdRng) -> AlarmRequest {
    let actions = [
        AlarmAction::Get,
        AlarmAction::Activate,
        AlarmAction::Deactivate,
        AlarmAction::Deactivate,
    ]
    .map(i32::from);
    AlarmRequest {
        // etcd dies of an action that it does not know.
        action: pick(random, &actions),
        member_id: pick(random, &[0, OWN_MEMBER, 77]),
        alarm: random.random_range(0..3),
    }
}
