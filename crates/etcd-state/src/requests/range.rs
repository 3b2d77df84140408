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
        create_revision: kv.create_revision.number(),
        mod_revision: kv.mod_revision.number(),
        version: kv.version,
        value: kv.value.clone(),
        lease: kv.lease.number(),
    }
}

pub fn revision_header(revision: Revision) -> Option<ResponseHeader> {
    Some(ResponseHeader {
        revision: revision.number(),
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
    if is_default_order(request) && !has_filters(request) {
        let limit = if request.limit > 0 {
            request.limit
        } else {
            i64::MAX
        };
        let wanted = response.count.min(limit) as usize;
        response.more = response.count > wanted as i64;
        response.kvs.reserve_exact(wanted);
        if request.sort_target() == SortTarget::Key {
            let kvs = tree.range(&range).take(wanted);
            response.kvs.extend(kvs.map(|kv| select(kv, request)));
        } else {
            // A target without an order means ascending, but etcd takes one key more than the
            // limit, in key order, before it sorts.
            let kvs = tree.range(&range).take(wanted.saturating_add(1));
            response.kvs.extend(kvs.map(|kv| to_proto(kv)));
            sort_and_cut(&mut response.kvs, request);
        }
    } else {
        let kvs = tree.range(&range).filter(|kv| passes_filters(kv, request));
        response.kvs.extend(kvs.map(|kv| to_proto(kv)));
        response.more = sort_and_cut(&mut response.kvs, request);
    }
    response
}

pub fn select(kv: &KeyValue, request: &RangeRequest) -> mvccpb::KeyValue {
    let mut kv = to_proto(kv);
    if request.keys_only {
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
    let at_most = |value: Revision, bound: i64| bound == 0 || value.number() <= bound;
    let at_least = |value: Revision, bound: i64| bound == 0 || value.number() >= bound;
    at_least(kv.mod_revision, request.min_mod_revision)
        && at_most(kv.mod_revision, request.max_mod_revision)
        && at_least(kv.create_revision, request.min_create_revision)
        && at_most(kv.create_revision, request.max_create_revision)
}

pub fn is_default_order(request: &RangeRequest) -> bool {
    request.sort_order() == SortOrder::None
        || (request.sort_target() == SortTarget::Key && request.sort_order() == SortOrder::Ascend)
}

/// Keys arrive in key order, and keep it where they are equal in what is sorted by, as in etcd up
/// to a dozen keys. Returns whether the limit cut some off.
pub(super) fn sort_and_cut(kvs: &mut Vec<mvccpb::KeyValue>, request: &RangeRequest) -> bool {
    let target = request.sort_target();
    let ascending = |a: &mvccpb::KeyValue, b: &mvccpb::KeyValue| match target {
        SortTarget::Key => a.key.cmp(&b.key),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::Create => a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => a.value.cmp(&b.value),
    };
    match (request.sort_order(), target) {
        (SortOrder::None | SortOrder::Ascend, SortTarget::Key) => {}
        (SortOrder::None | SortOrder::Ascend, _) => kvs.sort_by(ascending),
        (SortOrder::Descend, _) => kvs.sort_by(|a, b| ascending(b, a)),
    }
    let limit = usize::try_from(request.limit).unwrap_or(0);
    let is_cut = limit > 0 && kvs.len() > limit;
    if is_cut {
        kvs.truncate(limit);
    }
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value.clear());
    }
    is_cut
}
