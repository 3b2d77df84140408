//! Answers a Range request from one tree.

use etcd_proto::{
    etcdserverpb::{
        RangeRequest, RangeResponse, ResponseHeader,
        range_request::{SortOrder, SortTarget},
    },
    mvccpb,
};

use crate::mvcc::{KeyRange, KeyValue, Revision, Tree};

pub fn to_proto(kv: &KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key.clone(),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: kv.value.clone(),
        lease: kv.lease,
    }
}

pub fn revision_header(revision: Revision) -> Option<ResponseHeader> {
    Some(ResponseHeader {
        revision,
        ..Default::default()
    })
}

/// `tree` is the state at the requested revision, `revision` the one to report: etcd reports the
/// current revision of the store for historic reads too.
pub fn range(tree: &Tree, request: &RangeRequest, revision: Revision) -> RangeResponse {
    let range = KeyRange::new(request.key.clone(), request.range_end.clone());
    let mut response = RangeResponse {
        header: revision_header(revision),
        ..Default::default()
    };
    if let KeyRange::Single(key) = &range
        && !has_filters(request)
    {
        if let Some(kv) = tree.get(key) {
            response.count = 1;
            if !request.count_only {
                response.kvs.push(select(kv, request));
            }
        }
        return response;
    }
    response.count = if range.is_empty() {
        0
    } else {
        tree.count(&range) as i64
    };
    if request.count_only || response.count == 0 {
        return response;
    }
    let limit = usize::try_from(request.limit)
        .ok()
        .filter(|limit| *limit > 0);
    if is_default_order(request) && !has_filters(request) {
        // etcd reads one key more, then sorts, then cuts: without an order a target other than the
        // key sees that one too.
        let is_key_order = request.sort_target() == SortTarget::Key;
        let extra = usize::from(!is_key_order);
        let wanted = limit.map_or(usize::MAX, |limit| limit.saturating_add(extra));
        let wanted = wanted.min(response.count as usize);
        response.kvs.reserve_exact(wanted);
        response.kvs.extend(
            tree.range(&range)
                .take(wanted)
                .map(|kv| select(kv, request)),
        );
        sort_by_target(&mut response.kvs, request);
        response.kvs.truncate(limit.unwrap_or(usize::MAX));
        response.more = limit.is_some_and(|limit| response.count as usize > limit);
    } else {
        let kvs = tree.range(&range).filter(|kv| passes_filters(kv, request));
        response.kvs.extend(kvs.map(|kv| to_proto(kv)));
        sort_by_target(&mut response.kvs, request);
        if let Some(limit) = limit {
            response.more = response.kvs.len() > limit;
            response.kvs.truncate(limit);
        }
        if request.keys_only {
            response.kvs.iter_mut().for_each(|kv| kv.value.clear());
        }
    }
    response
}

pub fn select(kv: &KeyValue, request: &RangeRequest) -> mvccpb::KeyValue {
    let mut kv = to_proto(kv);
    if request.keys_only && request.sort_target() != SortTarget::Value {
        kv.value.clear();
    }
    kv
}

pub fn has_filters(request: &RangeRequest) -> bool {
    request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

fn passes_filters(kv: &KeyValue, request: &RangeRequest) -> bool {
    let at_most = |value: i64, bound: i64| bound == 0 || value <= bound;
    let at_least = |value: i64, bound: i64| bound == 0 || value >= bound;
    at_least(kv.mod_revision, request.min_mod_revision)
        && at_most(kv.mod_revision, request.max_mod_revision)
        && at_least(kv.create_revision, request.min_create_revision)
        && at_most(kv.create_revision, request.max_create_revision)
}

pub fn is_default_order(request: &RangeRequest) -> bool {
    request.sort_order() == SortOrder::None
        || (request.sort_target() == SortTarget::Key && request.sort_order() == SortOrder::Ascend)
}

/// Keys arrive in key order. A target other than the key without an order means ascending, applied
/// after the limit was: etcd's own quirk.
fn sort_by_target(kvs: &mut [mvccpb::KeyValue], request: &RangeRequest) {
    match request.sort_target() {
        SortTarget::Key => {}
        SortTarget::Version => kvs.sort_by_key(|kv| kv.version),
        SortTarget::Create => kvs.sort_by_key(|kv| kv.create_revision),
        SortTarget::Mod => kvs.sort_by_key(|kv| kv.mod_revision),
        SortTarget::Value => {
            kvs.sort_by(|a, b| a.value.cmp(&b.value));
            if request.keys_only && is_default_order(request) {
                kvs.iter_mut().for_each(|kv| kv.value.clear());
            }
        }
    }
    if request.sort_order() == SortOrder::Descend {
        kvs.reverse();
    }
}
