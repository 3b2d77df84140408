//! Requests of the Watch service.

use etcd_proto::etcdserverpb::watch_request::RequestUnion;
use etcd_proto::etcdserverpb::*;
use rand::Rng;
use rand::rngs::StdRng;

use super::{key, pick, range_end, revision, sometimes};

pub fn request(random: &mut StdRng) -> WatchRequest {
    let request_union = match random.random_range(0..20) {
        0..13 => Some(RequestUnion::CreateRequest(create(random))),
        13..18 => Some(RequestUnion::CancelRequest(WatchCancelRequest {
            watch_id: watch_id(random),
        })),
        18 => Some(RequestUnion::ProgressRequest(WatchProgressRequest {})),
        _ => None,
    };
    WatchRequest { request_union }
}

fn create(random: &mut StdRng) -> WatchCreateRequest {
    let key = key(random);
    WatchCreateRequest {
        range_end: range_end(random, &key),
        key,
        start_revision: match random.random_bool(0.6) {
            // Further ahead than other requests look.
            true => revision(random).saturating_add(random.random_range(0..4)),
            false => 0,
        },
        progress_notify: sometimes(random),
        filters: match sometimes(random) {
            true => {
                let count = random.random_range(1..4);
                (0..count)
                    .map(|_| pick(random, &[0, 1, 1, 0, 7, -1]))
                    .collect()
            }
            false => Vec::new(),
        },
        prev_kv: random.random_bool(0.5),
        watch_id: match random.random_bool(0.3) {
            true => watch_id(random),
            false => 0,
        },
        fragment: sometimes(random),
    }
}

fn watch_id(random: &mut StdRng) -> i64 {
    match random.random_range(0..10) {
        0 => pick(random, &[i64::MIN, -1, i64::MAX]),
        _ => random.random_range(0..5),
    }
}
