use bytes::{Buf, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::wire::{NodeId, Param, Request};

fn checked(request: &Request<'_>) -> Result<Checked, Failure> {
    let mut out = BytesMut::new();
    request.encode(&mut out).unwrap();
    let header = Header::decode(&out).unwrap();
    out.advance(Header::BYTES);
    check(&header, &out)
}

/// A request of these words.
fn raw(kind: u8, schema: u8, words: &[u64]) -> Result<Checked, Failure> {
    let header = Header {
        words: words.len() as u32,
        kind,
        schema,
    };
    let body: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    check(&header, &body)
}

#[test]
fn what_clients_send_is_allowed() {
    let address = "10.0.0.1:9000";
    let params = [
        Param::Integer(1),
        Param::Float(0.5),
        Param::Text("text"),
        Param::Blob(&[1; 9]),
        Param::Null,
        Param::Iso8601("2020-01-01"),
        Param::Boolean(true),
    ];
    let many = vec![Param::Null; 300];
    let sql = "INSERT INTO t VALUES (?)";
    for request in [
        Request::Leader,
        Request::Client { id: 7 },
        Request::Open { name: "k8s" },
        Request::Prepare { db: 0, sql },
        Request::Exec {
            db: 0,
            statement: 9,
            params: params[..].into(),
        },
        Request::Query {
            db: 3,
            statement: 0,
            params: many[..].into(),
        },
        Request::Finalize {
            db: 0,
            statement: 1,
        },
        Request::ExecSql {
            db: 0,
            sql,
            params: many[..].into(),
        },
        Request::QuerySql {
            db: 0,
            sql: "",
            params: vec![].into(),
        },
        Request::Interrupt { db: 0 },
        Request::Dump { name: "db.bin" },
        Request::Cluster { format: 0 },
        Request::Cluster { format: 1 },
        Request::Describe { format: 0 },
        Request::Weight { weight: u64::MAX },
    ] {
        let expected = match request {
            Request::Exec { statement, .. } | Request::Query { statement, .. } => {
                Checked::UsesStatement {
                    id: statement,
                    ends: false,
                }
            }
            Request::Finalize { statement, .. } => Checked::UsesStatement {
                id: statement,
                ends: true,
            },
            _ => Checked::Answered,
        };
        assert_eq!(checked(&request), Ok(expected), "{request:?}");
    }
    let changes = |loses_vote| Ok(Checked::ChangesNodes { loses_vote });
    for (request, loses_vote) in [
        (
            Request::Add {
                id: NodeId::new(2),
                address,
            },
            None,
        ),
        (Request::Transfer { id: NodeId::new(2) }, None),
        (
            Request::Assign {
                id: NodeId::new(2),
                role: 0,
            },
            None,
        ),
        (
            Request::Assign {
                id: NodeId::new(2),
                role: 2,
            },
            Some(2),
        ),
        (Request::Remove { id: NodeId::new(2) }, Some(2)),
    ] {
        assert_eq!(
            checked(&request),
            changes(loses_vote.map(NodeId::new)),
            "{request:?}"
        );
    }
    // PROMOTE, the old form of ASSIGN.
    assert_eq!(raw(13, 0, &[2]), changes(None));
    assert_eq!(
        checked(&Request::Connect {
            id: NodeId::new(1),
            address
        }),
        Ok(Checked::Connects)
    );
}

#[test]
fn what_ends_an_engine_is_refused_with_what_is_allowed() {
    let long = "a".repeat(300);
    for (request, word) in [
        (Request::Open { name: "" }, "letters"),
        (Request::Open { name: ":memory:" }, "letters"),
        (
            Request::Open {
                name: "file:x?mode=memory",
            },
            "letters",
        ),
        (Request::Dump { name: &long }, "255"),
        (
            Request::Add {
                id: NodeId::new(0),
                address: "10.0.0.1:9000",
            },
            "number 0",
        ),
        (
            Request::Add {
                id: NodeId::new(2),
                address: "",
            },
            "address",
        ),
        (
            Request::Assign {
                id: NodeId::new(0),
                role: 0,
            },
            "number 0",
        ),
        (
            Request::Assign {
                id: NodeId::new(2),
                role: 3,
            },
            "0, 1 or 2",
        ),
        (
            Request::Assign {
                id: NodeId::new(2),
                role: u64::MAX,
            },
            "0, 1 or 2",
        ),
        (Request::Remove { id: NodeId::new(0) }, "number 0"),
        (Request::Transfer { id: NodeId::new(0) }, "number 0"),
        (Request::Cluster { format: 2 }, "at most 1"),
        (Request::Describe { format: 9 }, "at most 0"),
        (
            Request::Prepare {
                db: 0,
                sql: "INSERT OR FAIL INTO t VALUES (1)",
            },
            "ABORT",
        ),
    ] {
        let refused = checked(&request).unwrap_err();
        assert!(refused.message.contains(word), "{request:?}: {refused:?}");
        assert!(refused.code != 0, "clients would try again");
    }
}

#[test]
fn what_is_no_request_is_refused() {
    let text = u64::from_le_bytes(*b"select 1");
    for (kind, schema, words) in [
        (2, 0, &[0][..]),
        (20, 0, &[0]),
        (255, 0, &[0]),
        // Schemas that there are not.
        (0, 1, &[0]),
        (4, 2, &[0, 0]),
        (9, 2, &[0, 0]),
        // Too long, too short, a text without an end.
        (0, 0, &[0, 0]),
        (12, 0, &[2]),
        (8, 0, &[0, text]),
        // More types than there is room for; values that are not there; a type that is none.
        (8, 1, &[0, 0, 0xffff_ffff]),
        (8, 0, &[0, 0, 0x01_0102]),
        (8, 0, &[0, 0, 0x0901, 0]),
        // Lengths of a blob that are wrong, and that wrap around.
        (8, 0, &[0, 0, 0x0401, 9, 0]),
        (8, 0, &[0, 0, 0x0401, u64::MAX, 0]),
        (8, 0, &[0, 0, 0x0401, u64::MAX - 6]),
        // A NUL inside of a text would shift what follows.
        (8, 0, &[0, 0, 0x0301, 0x61_0061, 0]),
    ] {
        let refused = raw(kind, schema, words).unwrap_err();
        assert_eq!(
            refused.code, PARSE,
            "{kind} {schema} {words:x?}: {refused:?}"
        );
    }
    // SQLite takes a literal or a comment that is not UTF-8.
    assert_eq!(raw(8, 0, &[0, 0xff]), Ok(Checked::Answered));
}

proptest! {
    #[test]
    fn hostile_bytes_are_survived(
        kind in 0u8..24,
        schema in 0u8..3,
        words in proptest::collection::vec(prop_oneof![0..12u64, any::<u64>()], 1..20),
    ) {
        if let Err(refused) = raw(kind, schema, &words) {
            prop_assert!(refused.message.len() < 1024, "{refused:?}");
        }
    }
}
