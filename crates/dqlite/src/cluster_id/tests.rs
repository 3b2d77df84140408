use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::{
    files::{CLUSTER_ID_FILE, HistoryId},
    wire::{PROTOCOL_VERSION, Request},
};

fn known(id: u64) -> ClusterId {
    ClusterId::fixed(id)
}

fn unknown() -> ClusterId {
    ClusterId::new(Path::new(""), State::Unknown)
}

fn joining() -> ClusterId {
    ClusterId::joining(Path::new(""))
}

/// Connects `caller` to `callee`, and returns whether each lets the other in.
async fn meet(caller: &ClusterId, callee: &ClusterId) -> (io::Result<bool>, io::Result<()>) {
    let (mut here, mut there) = tokio::io::duplex(64);
    let answering = async {
        let mut received = BytesMut::new();
        assert!(is_introduction(&mut there, &mut received).await.unwrap());
        let answered = callee.answer(&mut there, &mut received, "10.0.0.1").await;
        assert!(received.is_empty());
        answered
    };
    tokio::join!(caller.introduce(&mut here, "10.0.0.2:9000"), answering)
}

#[tokio::test]
async fn nodes_of_one_history_meet_and_others_do_not() {
    for (caller, callee, is_let_in) in [
        (known(1), known(1), true),
        (known(1), known(2), false),
        (known(u64::MAX), known(1), false),
        (unknown(), known(1), true),
        (known(1), unknown(), true),
        (unknown(), unknown(), true),
        (joining(), known(1), true),
        // Its leader comes once it has adopted the leader's history.
        (known(1), joining(), false),
        (unknown(), joining(), true),
    ] {
        let (introduced, answered) = meet(&caller, &callee).await;
        let names = (caller.known(), callee.known());
        assert_eq!(introduced.is_ok(), is_let_in, "{names:?}");
        assert_eq!(answered.is_ok(), is_let_in, "{names:?}");
        let refused = (caller.refused(), callee.refused());
        let expected = u64::from(!is_let_in);
        assert_eq!(refused, (expected, expected), "{names:?}");
    }
}

#[tokio::test]
async fn a_refusal_names_both_histories() {
    let (introduced, answered) = meet(&known(0xa1), &known(0xb2)).await;
    for (error, first) in [
        (introduced.unwrap_err(), "b2"),
        (answered.unwrap_err(), "a1"),
    ] {
        let text = error.to_string();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(text.contains(&format!("the cluster {first}")), "{text}");
        assert!(text.contains("cluster a1") && text.contains("cluster b2"));
    }
}

/// The older node answers as dqlite does to a request that it does not know (src/gateway.c).
#[tokio::test]
async fn a_node_of_an_older_version_is_told_apart() {
    let (mut here, mut there) = tokio::io::duplex(64);
    let answering = async {
        let mut request = [0; 32];
        there.read_exact(&mut request).await.unwrap();
        let message = b"unrecognized request type\0\0\0\0\0\0\0";
        let mut failure = BytesMut::new();
        failure.extend_from_slice(&(1 + message.len() as u32 / 8).to_le_bytes());
        failure.extend_from_slice(&[0; 4]);
        failure.extend_from_slice(&1005u64.to_le_bytes());
        failure.extend_from_slice(message);
        there.write_all(&failure).await.unwrap();
    };
    let own = known(1);
    let (introduced, ()) = tokio::join!(own.introduce(&mut here, "a:1"), answering);
    assert!(!introduced.unwrap());
}

#[tokio::test]
async fn what_a_client_says_is_no_introduction() {
    let mut said = BytesMut::from(&PROTOCOL_VERSION.to_le_bytes()[..]);
    Request::Leader.encode(&mut said).unwrap();
    let mut http2 = BytesMut::from(&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..]);
    http2[12] = 0xc1;
    for said in [said, http2] {
        for step in 1..said.len() {
            let (mut here, mut there) = tokio::io::duplex(64);
            let saying = async {
                for piece in said.chunks(step) {
                    here.write_all(piece).await.unwrap();
                }
                drop(here);
            };
            let mut received = BytesMut::new();
            let (is_one, ()) = tokio::join!(is_introduction(&mut there, &mut received), saying);
            assert!(!is_one.unwrap());
            assert!(said.starts_with(&received) && received.len() >= 16);
        }
    }
}

fn kept(dir: &Path) -> Option<HistoryId> {
    read_cluster_id(dir).unwrap()
}

fn of(id: u64, former: Option<u64>) -> Option<HistoryId> {
    Some(HistoryId { id, former })
}

#[test]
fn a_beginning_has_one_id_however_often_it_is_interrupted() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let id = ClusterId::begin(dir.path()).unwrap().known().unwrap();
    assert_eq!(ClusterId::begin(dir.path()).unwrap().known(), Some(id));
    assert_eq!(ClusterId::open(dir.path()).unwrap().known(), Some(id));
    assert_ne!(ClusterId::begin(other.path()).unwrap().known(), Some(id));
}

#[test]
fn a_directory_without_an_id_takes_that_of_its_database() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = ClusterId::open(dir.path()).unwrap();
    assert_eq!(cluster.known(), None);
    assert_eq!(cluster.settle(7), Ok(Settled::Agrees));
    assert_eq!(kept(dir.path()), of(7, None));
    assert_eq!(cluster.settle(7), Ok(Settled::Agrees));
    assert_eq!(cluster.settle(8), Err(Foreign { own: 7, stored: 8 }));
    assert_eq!(kept(dir.path()), of(7, None));
}

#[test]
fn a_recovered_history_renames_its_own_database_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let write = |id, former| write_cluster_id(dir.path(), HistoryId { id, former }).unwrap();
    write(7, None);
    let new = ClusterId::renew(dir.path()).unwrap();
    assert_eq!(kept(dir.path()), of(new, Some(7)));
    // Once more, before the database has heard of the first time.
    let new = ClusterId::renew(dir.path()).unwrap();
    assert_eq!(kept(dir.path()), of(new, Some(7)));
    let cluster = ClusterId::open(dir.path()).unwrap();
    assert_eq!(cluster.settle(7), Ok(Settled::Becomes(new)));
    assert_eq!(cluster.settle(new), Ok(Settled::Agrees));
    let foreign = Foreign {
        own: new,
        stored: 8,
    };
    assert_eq!(cluster.settle(8), Err(foreign));
}

#[test]
fn a_recovered_directory_without_an_id_renames_whatever_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let new = ClusterId::renew(dir.path()).unwrap();
    assert_eq!(kept(dir.path()), of(new, Some(0)));
    let cluster = ClusterId::open(dir.path()).unwrap();
    assert_eq!(cluster.settle(8), Ok(Settled::Becomes(new)));
}

#[test]
fn a_node_that_joins_has_the_history_of_whom_it_asked_last() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = ClusterId::joining(dir.path());
    cluster.adopt(Some(7)).unwrap();
    assert_eq!((cluster.known(), kept(dir.path())), (Some(7), of(7, None)));
    cluster.part();
    assert_eq!(cluster.known(), None);
    cluster.adopt(Some(8)).unwrap();
    assert_eq!((cluster.known(), kept(dir.path())), (Some(8), of(8, None)));
    cluster.part();
    cluster.adopt(None).unwrap();
    assert_eq!(cluster.known(), None);
    assert!(dir.path().join(CLUSTER_ID_FILE).exists());
}
