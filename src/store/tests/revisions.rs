//! The revisions that replies to writes have.

use std::sync::atomic::{AtomicBool, Ordering};

use etcd_proto::etcdserverpb::{
    AlarmRequest, AlarmType, AuthRoleAddRequest, RangeRequest, alarm_request::AlarmAction,
};
use etcd_state::{
    auth::Change,
    mvcc::{LeaseId, Revision},
};

use super::harness::*;

#[tokio::test(flavor = "multi_thread")]
async fn each_reply_has_the_revision_at_which_its_write_took_effect() {
    let engine = Engine::start();
    let running = Running::open(engine.endpoint()).await;
    let store = &running.store;
    let alarm = AlarmRequest {
        action: AlarmAction::Activate.into(),
        member_id: 7,
        alarm: AlarmType::None.into(),
    };
    let role = AuthRoleAddRequest { name: "r".into() };
    let (kept, revoked) = (LeaseId::new(1), LeaseId::new(2));
    // Queued in this order, and answered after a later write of the same batch.
    let (first, granted, compacted, alarmed, changed, _, gone, last) = tokio::join!(
        store.put(put("a", "1")),
        store.lease_grant(kept, 100),
        store.compact(Revision::new(1), false),
        store.alarm(alarm),
        store.change_auth(Change::RoleAdd(role)),
        store.lease_grant(revoked, 100),
        store.lease_revoke(revoked),
        store.put(put("b", "1")),
    );
    let first = Revision::new(first.unwrap().header.unwrap().revision);
    assert_eq!(granted.unwrap().revision, first);
    assert_eq!(compacted.unwrap().revision, first);
    assert_eq!(alarmed.unwrap().revision, first);
    assert_eq!(changed.unwrap().revision, first);
    assert_eq!(gone.unwrap().revision, first);
    assert_eq!(
        last.unwrap().header.unwrap().revision,
        first.next().number()
    );
    running.stop().await;
}

/// Or a reader who has lost a permission could see what was written afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn rules_are_seen_before_what_was_written_under_them() {
    const ROUNDS: u64 = 300;
    let engine = Engine::start();
    let running = Running::open(engine.endpoint()).await;
    let store = &running.store;
    let first = store.rules().load().revision;
    let (reader, has_ended) = (store.clone(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let key = RangeRequest {
                key: "a".into(),
                ..RangeRequest::default()
            };
            let mut reads = 0_u64;
            while !has_ended.load(Ordering::Relaxed) {
                let found = reader.range(&key).unwrap().kvs;
                let puts = found.first().map_or(0, |kv| kv.version.cast_unsigned());
                // Each put comes after a change of the rules in the same batch.
                let changes = reader.rules().load().revision - first;
                assert!(changes >= puts, "{puts} puts, {changes} changes");
                reads += 1;
            }
            reads
        });
        let writing = async {
            let mut is_written = true;
            for round in 0..ROUNDS {
                let name = format!("role {round}");
                let (changed, written) = tokio::join!(
                    store.change_auth(Change::RoleAdd(AuthRoleAddRequest { name })),
                    store.put(put("a", "1")),
                );
                is_written &= changed.is_ok() && written.is_ok();
            }
            has_ended.store(true, Ordering::Relaxed);
            is_written
        };
        let runtime = tokio::runtime::Handle::current();
        assert!(tokio::task::block_in_place(|| runtime.block_on(writing)));
        assert!(reading.join().unwrap() > 0);
    });
    running.stop().await;
}
