use etcd_state::mvcc::Revision;
use std::fmt::Debug;

use super::*;

const ID: LeaseId = LeaseId::new(1);

/// Every answer there is.
fn answers() -> Vec<Answer> {
    vec![
        Answer::Error(1),
        DONE,
        Answer::Put(PutResponse::default()),
        Answer::DeleteRange(DeleteRangeResponse::default()),
        Answer::Txn(TxnResponse::default()),
        Answer::GrantedTtlS(1),
        Answer::RenewedTtlS(1),
        Answer::Lease(proto::Lease::default()),
        Answer::LeaseList(LeaseLeasesResponse::default()),
        Answer::Alarm(AlarmResponse::default()),
        Answer::Pages(proto::Pages::default()),
        Answer::Copy(proto::Copy::default()),
    ]
}

fn understood<R: Forwarded>(_: &R) -> Vec<Answer> {
    let mut answers = answers();
    answers.retain(|answer| R::reply_from_proto(answer.clone().into()).is_some());
    answers
}

fn there_and_back<R: Forwarded>(_: &R, reply: R::Reply) -> Option<R::Reply> {
    R::reply_from_proto(R::reply_to_proto(reply))
}

#[test]
fn an_answer_is_read_as_the_reply_to_what_was_asked_or_not_at_all() {
    let done = |request| understood::<Compact>(request);
    let compact = Compact {
        revision: Revision::new(1),
        physical: false,
    };
    assert_eq!(done(&compact), [DONE]);
    assert_eq!(understood(&Change::Disable), [DONE]);
    assert_eq!(understood(&Defragment), [DONE]);
    assert_eq!(understood(&LeaseRevoke { id: ID }), [DONE]);
    assert_eq!(
        understood(&LeaseKeepAlive { id: ID }),
        [DONE, Answer::RenewedTtlS(1)]
    );
    let time_to_live = LeaseTimeToLive {
        id: ID,
        with_keys: true,
    };
    assert_eq!(
        understood(&time_to_live),
        [DONE, Answer::Lease(proto::Lease::default())]
    );
    assert_eq!(
        understood(&PutRequest::default()),
        [Answer::Put(PutResponse::default())]
    );
    assert_eq!(
        understood(&LeaseGrant { id: ID, ttl_s: 1 }),
        [Answer::GrantedTtlS(1)]
    );
    assert_eq!(understood(&LeaseList).len(), 1);
    assert_eq!(understood(&ReadPages).len(), 1);
    assert_eq!(understood(&ReadSnapshotState).len(), 1);
    assert_eq!(understood(&AlarmRequest::default()).len(), 1);
    let publish = Publish {
        member_id: 1,
        client_urls: Vec::new(),
    };
    assert_eq!(understood(&publish), [DONE]);
}

#[test]
fn replies_arrive_as_they_were_sent() {
    fn check<R: Forwarded>(request: R, reply: impl Fn() -> R::Reply)
    where
        R::Reply: PartialEq + Debug,
    {
        assert_eq!(there_and_back(&request, reply()), Some(reply()));
    }
    fn at<T>(revision: Revision, reply: T) -> Committed<T> {
        Committed { revision, reply }
    }
    check(LeaseGrant { id: ID, ttl_s: 9 }, || at(Revision::new(11), 9));
    check(LeaseRevoke { id: ID }, || at(Revision::new(12), ()));
    check(Change::Disable, || at(Revision::new(13), ()));
    check(AlarmRequest::default(), || {
        at(Revision::new(14), vec![AlarmMember::default()])
    });
    check(LeaseKeepAlive { id: ID }, || Some(7));
    check(LeaseKeepAlive { id: ID }, || None);
    check(LeaseList, || vec![LeaseId::new(3), ID]);
    check(ReadPages, || Pages { total: 9, free: 2 });
    check(Defragment, || ());
}
