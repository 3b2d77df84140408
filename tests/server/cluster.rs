//! The Cluster service, MoveLeader and Downgrade, on a cluster of one.

use dqlite::{
    client::{ConnectOptions, Connection, Endpoint},
    wire::NodeId,
};
use etcd_proto::etcdserverpb::{
    DowngradeRequest, Member, MemberAddRequest, MemberListRequest, MemberPromoteRequest,
    MemberRemoveRequest, MemberUpdateRequest, MoveLeaderRequest, StatusRequest,
    downgrade_request::DowngradeAction,
};
use tonic::Code;

use crate::harness::*;

parity! {
    an_unknown_member_is_not_found,
    the_last_member_stays,
    a_voter_is_not_promoted,
    the_urls_of_a_new_member_are_checked,
    an_update_to_the_same_urls_changes_nothing,
    leadership_moves_to_voters_only,
    a_downgrade_has_a_target_just_below,
}

fn refusal(code: Code, text: &str) -> (Code, String) {
    (code, format!("etcdserver: {text}"))
}

async fn members(api: &Api) -> Vec<Member> {
    let linearizable = true;
    api.ask(MemberListRequest { linearizable }).await.members
}

async fn only_member(api: &Api) -> Member {
    let mut members = members(api).await;
    assert_eq!(members.len(), 1);
    members.pop().unwrap()
}

fn add(urls: &[&str], is_learner: bool) -> MemberAddRequest {
    MemberAddRequest {
        peer_ur_ls: urls.iter().map(ToString::to_string).collect(),
        is_learner,
    }
}

async fn an_unknown_member_is_not_found(server: Server) {
    let api = server.api().await;
    let not_found = refusal(Code::NotFound, "member not found");
    assert_eq!(api.refused(MemberRemoveRequest { id: 7 }).await, not_found);
    assert_eq!(api.refused(MemberPromoteRequest { id: 7 }).await, not_found);
    let update = MemberUpdateRequest {
        id: 7,
        peer_ur_ls: vec!["http://127.0.0.1:1".to_owned()],
    };
    assert_eq!(api.refused(update).await, not_found);
}

async fn the_last_member_stays(server: Server) {
    let api = server.api().await;
    let id = only_member(&api).await.id;
    let text = "re-configuration failed due to not enough started members";
    let expected = refusal(Code::Unknown, text);
    assert_eq!(api.refused(MemberRemoveRequest { id }).await, expected);
    assert_eq!(only_member(&api).await.id, id);
    api.put("a", "1").await;
}

async fn a_voter_is_not_promoted(server: Server) {
    let api = server.api().await;
    let id = only_member(&api).await.id;
    let expected = refusal(
        Code::FailedPrecondition,
        "can only promote a learner member",
    );
    assert_eq!(api.refused(MemberPromoteRequest { id }).await, expected);
}

async fn the_urls_of_a_new_member_are_checked(server: Server) {
    let api = server.api().await;
    let invalid = refusal(Code::InvalidArgument, "given member URLs are invalid");
    let bad: [&[&str]; 5] = [
        &[],
        &["bad"],
        &["http://127.0.0.1"],
        &["http://127.0.0.1:1/path"],
        &["http://127.0.0.1:1", "ftp://127.0.0.1:1"],
    ];
    for urls in bad {
        assert_eq!(api.refused(add(urls, true)).await, invalid, "{urls:?}");
    }
    let own = only_member(&api).await.peer_ur_ls.remove(0);
    let exists = refusal(Code::FailedPrecondition, "Peer URLs already exists");
    let taken = add(&["http://127.0.0.1:1", &own], false);
    assert_eq!(api.refused(taken).await, exists);
}

async fn an_update_to_the_same_urls_changes_nothing(server: Server) {
    let api = server.api().await;
    let member = only_member(&api).await;
    let update = MemberUpdateRequest {
        id: member.id,
        peer_ur_ls: member.peer_ur_ls.clone(),
    };
    let answer = api.ask(update).await;
    assert_eq!(answer.members, std::slice::from_ref(&member));
    let header = answer.header.unwrap();
    assert_eq!((header.member_id, header.revision), (member.id, 0));
    assert_eq!(only_member(&api).await, member);
}

async fn leadership_moves_to_voters_only(server: Server) {
    let api = server.api().await;
    let expected = refusal(Code::FailedPrecondition, "bad leader transferee");
    for target_id in [0, 7] {
        assert_eq!(api.refused(MoveLeaderRequest { target_id }).await, expected);
    }
    let target_id = only_member(&api).await.id;
    assert_eq!(api.ask(MoveLeaderRequest { target_id }).await.header, None);
    api.put("a", "1").await;
}

async fn a_downgrade_has_a_target_just_below(server: Server) {
    let api = server.api().await;
    let request = |action: DowngradeAction, version: &str| DowngradeRequest {
        action: action.into(),
        version: version.to_owned(),
    };
    let invalid = refusal(Code::InvalidArgument, "invalid downgrade target version");
    let format = refusal(
        Code::InvalidArgument,
        "wrong downgrade target version format",
    );
    for action in [DowngradeAction::Validate, DowngradeAction::Enable] {
        // Not the version just below, 3.6 of an etcd 3.7.
        for version in ["3.4", "3.5.0", "3.8", "4.0.0"] {
            assert_eq!(
                api.refused(request(action, version)).await,
                invalid,
                "{version}"
            );
        }
        for version in ["", "3", "v3.5", "x", "3.5.0.0"] {
            assert_eq!(
                api.refused(request(action, version)).await,
                format,
                "{version}"
            );
        }
    }
    let answer = api.ask(request(DowngradeAction::Cancel, "")).await;
    let version = match server.kind() {
        Kind::K8sDqlite => "3.6",
        Kind::Etcd => "3.7",
    };
    assert_eq!((answer.version.as_str(), at(&answer.header)), (version, 1));
    let unknown = DowngradeRequest {
        action: 7,
        version: "3.5".to_owned(),
    };
    assert_eq!(
        api.refused(unknown).await,
        refusal(Code::Unknown, "unknown method")
    );
}

#[tokio::test]
async fn what_a_single_node_cannot_do_is_refused_with_the_reason() {
    let server = Server::start(Kind::K8sDqlite).await;
    let api = server.api().await;
    let (code, text) = api.refused(add(&["http://127.0.0.1:1"], false)).await;
    assert_eq!(code, Code::FailedPrecondition);
    assert!(text.contains("joins by itself"), "{text}");
    let update = MemberUpdateRequest {
        id: only_member(&api).await.id,
        peer_ur_ls: vec!["http://127.0.0.1:1".to_owned()],
    };
    let (code, text) = api.refused(update).await;
    assert_eq!(code, Code::FailedPrecondition);
    assert!(text.contains("cannot be changed"), "{text}");
    let downgrade = DowngradeRequest {
        action: DowngradeAction::Validate.into(),
        version: "3.5".to_owned(),
    };
    let expected = refusal(Code::InvalidArgument, "invalid downgrade target version");
    assert_eq!(api.refused(downgrade).await, expected);
}

#[tokio::test]
async fn a_node_that_does_not_vote_is_a_learner_and_can_be_removed() {
    let server = Server::start(Kind::K8sDqlite).await;
    let api = server.api().await;
    let endpoint = Endpoint::Tcp(format!("127.0.0.1:{}", server.node_port()));
    let mut node = Connection::connect(&endpoint, ConnectOptions::default())
        .await
        .unwrap();
    node.add(NodeId::new(7), "127.0.0.1:1").await.unwrap();
    let members = members(&api).await;
    let learner = members.iter().find(|member| member.id == 7).unwrap();
    assert_eq!((members.len(), learner.is_learner), (2, true));
    assert_eq!(learner.peer_ur_ls, ["http://127.0.0.1:1"]);
    assert_eq!(learner.client_ur_ls, [""; 0], "not known");
    let exists = refusal(Code::FailedPrecondition, "Peer URLs already exists");
    assert_eq!(
        api.refused(add(&["http://127.0.0.1:1"], true)).await,
        exists
    );
    let transferee = refusal(Code::FailedPrecondition, "bad leader transferee");
    let target_id = 7;
    assert_eq!(
        api.refused(MoveLeaderRequest { target_id }).await,
        transferee
    );
    let not_enough = "re-configuration failed due to not enough started members";
    let id = api.ask(StatusRequest {}).await.leader;
    assert_eq!(
        api.refused(MemberRemoveRequest { id }).await,
        refusal(Code::Unknown, not_enough)
    );
    let left = api.ask(MemberRemoveRequest { id: 7 }).await.members;
    assert_eq!(left, [only_member(&api).await]);
    api.put("a", "1").await;
}
