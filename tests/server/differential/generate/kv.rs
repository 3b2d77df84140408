//! Requests of the KV service.

use etcd_proto::etcdserverpb::compare::TargetUnion;
use etcd_proto::etcdserverpb::request_op::Request;
use etcd_proto::etcdserverpb::*;
use rand::Rng;
use rand::rngs::StdRng;

use super::{edge, key, lease, pick, range_end, revision, sometimes, value};

const NESTED_AT_MOST: usize = 3;

/// More than a list may have.
const TOO_MANY: usize = 129;

pub fn put(random: &mut StdRng) -> PutRequest {
    let ignore_value = sometimes(random);
    let ignore_lease = sometimes(random);
    PutRequest {
        key: key(random),
        value: match ignore_value && random.random_bool(0.8) {
            true => Default::default(),
            false => value(random),
        },
        lease: match random.random_bool(0.25) && !(ignore_lease && random.random_bool(0.8)) {
            true => lease(random),
            false => 0,
        },
        prev_kv: random.random_bool(0.5),
        ignore_value,
        ignore_lease,
    }
}

pub fn delete_range(random: &mut StdRng) -> DeleteRangeRequest {
    let key = key(random);
    DeleteRangeRequest {
        range_end: range_end(random, &key),
        key,
        prev_kv: random.random_bool(0.5),
    }
}

/// Returns a range request without order and filters.
pub fn plain_range(random: &mut StdRng) -> RangeRequest {
    let key = key(random);
    RangeRequest {
        range_end: range_end(random, &key),
        key,
        limit: match random.random_bool(0.4) {
            true => random.random_range(-1..5),
            false => 0,
        },
        revision: match random.random_bool(0.5) {
            true => revision(random),
            false => 0,
        },
        serializable: random.random_bool(0.3),
        keys_only: sometimes(random),
        count_only: sometimes(random),
        ..Default::default()
    }
}

pub fn range(random: &mut StdRng) -> RangeRequest {
    let mut range = plain_range(random);
    if random.random_bool(0.5) {
        range.sort_order = random.random_range(0..3);
        range.sort_target = random.random_range(0..5);
    }
    if random.random_bool(0.02) {
        range.sort_order = pick(random, &[-1, 3, 0]);
        range.sort_target = pick(random, &[-1, 5, 77]);
    }
    for field in [
        &mut range.min_mod_revision,
        &mut range.max_mod_revision,
        &mut range.min_create_revision,
        &mut range.max_create_revision,
    ] {
        if sometimes(random) {
            *field = revision(random);
        }
    }
    if random.random_bool(0.03) {
        range.limit = edge(random);
    }
    range
}

pub fn txn(random: &mut StdRng, depth: usize) -> TxnRequest {
    let compares = random.random_range(0..3);
    TxnRequest {
        compare: (0..compares).map(|_| compare(random)).collect(),
        success: branch(random, depth),
        failure: branch(random, depth),
    }
}

fn branch(random: &mut StdRng, depth: usize) -> Vec<RequestOp> {
    let count = match random.random_range(0..200) {
        0 => return vec![operation(random, NESTED_AT_MOST); TOO_MANY],
        _ => random.random_range(0..4),
    };
    (0..count).map(|_| operation(random, depth)).collect()
}

fn operation(random: &mut StdRng, depth: usize) -> RequestOp {
    let request = match random.random_range(0..20) {
        0..9 => Request::RequestPut(put(random)),
        9..14 => Request::RequestRange(range(random)),
        14..18 => Request::RequestDeleteRange(delete_in_txn(random)),
        _ if depth < NESTED_AT_MOST => Request::RequestTxn(txn(random, depth + 1)),
        _ => Request::RequestPut(put(random)),
    };
    RequestOp {
        request: (!random.random_bool(0.01)).then_some(request),
    }
}

/// Rarely one without an end, of which etcd overlooks duplicates: that ends the sequence.
fn delete_in_txn(random: &mut StdRng) -> DeleteRangeRequest {
    let delete = delete_range(random);
    match &delete.range_end[..] == b"\0" && random.random_bool(0.9) {
        true => delete_in_txn(random),
        false => delete,
    }
}

fn compare(random: &mut StdRng) -> Compare {
    let key = key(random);
    let range_end = match random.random_bool(0.3) {
        true => range_end(random, &key),
        false => Default::default(),
    };
    let target = random.random_range(0..5);
    // Of another target, or none at all.
    let union = match sometimes(random) {
        true => random.random_range(0..6),
        false => target,
    };
    Compare {
        result: match random.random_bool(0.02) {
            true => pick(random, &[-1, 4, 99]),
            false => random.random_range(0..4),
        },
        target: match random.random_bool(0.02) {
            true => pick(random, &[-1, 5, 99]),
            false => target,
        },
        key,
        range_end,
        target_union: match union {
            0 => Some(TargetUnion::Version(small(random))),
            1 => Some(TargetUnion::CreateRevision(revision(random))),
            2 => Some(TargetUnion::ModRevision(revision(random))),
            3 => Some(TargetUnion::Value(value(random))),
            4 => Some(TargetUnion::Lease(lease(random))),
            _ => None,
        },
    }
}

fn small(random: &mut StdRng) -> i64 {
    match sometimes(random) {
        true => edge(random),
        false => random.random_range(0..4),
    }
}
