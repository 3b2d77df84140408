//! The revisions that replies to writes have.

use etcd_proto::etcdserverpb::{
    AlarmRequest, AlarmType, AuthRoleAddRequest, alarm_request::AlarmAction,
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
