//! Answers that are the same but for the order of keys that are equal in what they are sorted by.

use etcd_proto::etcdserverpb::RangeRequest;
use etcd_proto::etcdserverpb::range_request::SortTarget;

/// The number of keys from which on etcd does not sort by insertion.
const UNSTABLE_KEYS: i64 = 13;

/// The text with which each key of an answer begins.
const KEY: &str = "KeyValue {";

/// Returns whether the requests sort, and the answers differ in nothing else than the order of many
/// keys.
pub fn may_differ(ranges: &[&RangeRequest], ours: &str, etcd: &str) -> bool {
    let mut sorted = ranges
        .iter()
        .filter(|range| range.sort_target != i32::from(SortTarget::Key));
    if !counts_many(ours) || !counts_many(etcd) {
        return false;
    }
    let is_limited = match sorted.next() {
        None => return false,
        Some(first) => first.limit > 0 || sorted.any(|range| range.limit > 0),
    };
    let (mut ours, mut etcd) = (parts(ours), parts(etcd));
    if is_limited {
        // Which of the equal ones come in is open too.
        return ours.frame == etcd.frame;
    }
    ours.keys.sort_unstable();
    etcd.keys.sort_unstable();
    ours == etcd
}

/// Returns whether some answer counts so many keys that their order may be any.
fn counts_many(text: &str) -> bool {
    text.split("count: ").skip(1).any(|rest| {
        let digits = rest.split(|letter: char| !letter.is_ascii_digit()).next();
        digits.and_then(|digits| digits.parse().ok()) >= Some(UNSTABLE_KEYS)
    })
}

/// The keys of an answer, and what is around them. No key or value has a brace.
#[derive(PartialEq, Eq)]
struct Parts<'a> {
    frame: Vec<&'a str>,
    keys: Vec<&'a str>,
}

fn parts(text: &str) -> Parts<'_> {
    let mut pieces = text.split(KEY);
    let mut frame = vec![pieces.next().unwrap_or_default()];
    let mut keys = Vec::new();
    for piece in pieces {
        let (key, rest) = piece.split_once('}').unwrap_or((piece, ""));
        keys.push(key);
        frame.push(rest);
    }
    Parts { frame, keys }
}

#[test]
fn only_the_order_of_many_sorted_keys_may_differ() {
    let by = |sort_target: SortTarget, limit| RangeRequest {
        sort_target: sort_target.into(),
        limit,
        ..Default::default()
    };
    let (sorted, limited) = (by(SortTarget::Value, 0), by(SortTarget::Value, 1));
    let plain = by(SortTarget::Key, 0);
    let two = |first, second, count| {
        format!("[KeyValue {{ {first} }}, KeyValue {{ {second} }}], count: {count}")
    };
    let may_differ = |range, etcd: &str| may_differ(&[range], &two(1, 2, 13), etcd);
    assert!(may_differ(&sorted, &two(2, 1, 13)));
    assert!(!may_differ(&plain, &two(2, 1, 13)));
    assert!(!may_differ(&sorted, &two(2, 3, 13)));
    assert!(!may_differ(&sorted, &two(2, 1, 14)));
    assert!(!may_differ(&sorted, &two(2, 1, 12)));
    assert!(may_differ(&limited, &two(2, 3, 13)));
    assert!(!may_differ(&limited, "[], count: 13"));
}
