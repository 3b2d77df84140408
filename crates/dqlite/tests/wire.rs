//! The wire protocol as a whole: what is encoded decodes to itself, and hostile bytes are refused at a
//! bounded cost.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::{BufMut, Bytes, BytesMut};
use dqlite::wire::{
    DECODE_EXPANSION, Failure, File, Header, MAX_PARAMS, NodeId, Param, Reply, Request, Role, Row,
    RowsPart, Server, Value, WireError,
};
use proptest::collection::vec;
use proptest::prelude::*;

thread_local! {
    static LIVE_BYTES: Cell<isize> = const { Cell::new(0) };
    static PEAK_BYTES: Cell<isize> = const { Cell::new(0) };
}

/// Counts what each thread has allocated.
struct Counting;

fn count(change: isize) {
    LIVE_BYTES.set(LIVE_BYTES.get() + change);
    PEAK_BYTES.set(PEAK_BYTES.get().max(LIVE_BYTES.get()));
}

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: the block came from `alloc` above with this layout.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that `work` had allocated at a time.
fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE_BYTES.get();
    PEAK_BYTES.set(before);
    let result = work();
    (result, (PEAK_BYTES.get() - before).max(0).cast_unsigned())
}

/// The bytes that any decode may allocate beside its share of the message: error values, first small vectors.
const DECODE_BASE_BYTES: usize = 1024;

fn text() -> impl Strategy<Value = String> {
    "[^\0]{0,40}"
}

fn blob() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..70)
}

#[derive(Debug, Clone)]
enum OwnedParam {
    Integer(i64),
    Float(f64),
    Text(String),
    Blob(Vec<u8>),
    Null,
    Iso8601(String),
    Boolean(bool),
}

impl OwnedParam {
    fn borrow(&self) -> Param<'_> {
        match self {
            OwnedParam::Integer(value) => Param::Integer(*value),
            OwnedParam::Float(value) => Param::Float(*value),
            OwnedParam::Text(text) => Param::Text(text),
            OwnedParam::Blob(blob) => Param::Blob(blob),
            OwnedParam::Null => Param::Null,
            OwnedParam::Iso8601(text) => Param::Iso8601(text),
            OwnedParam::Boolean(value) => Param::Boolean(*value),
        }
    }
}

fn param() -> impl Strategy<Value = OwnedParam> {
    prop_oneof![
        any::<i64>().prop_map(OwnedParam::Integer),
        any::<f64>().prop_map(OwnedParam::Float),
        text().prop_map(OwnedParam::Text),
        blob().prop_map(OwnedParam::Blob),
        Just(OwnedParam::Null),
        text().prop_map(OwnedParam::Iso8601),
        any::<bool>().prop_map(OwnedParam::Boolean),
    ]
}

/// Around the switch of schemas at 255 parameters too.
fn params() -> impl Strategy<Value = Vec<OwnedParam>> {
    prop_oneof![vec(param(), 0..12), vec(param(), 250..260)]
}

#[derive(Debug, Clone)]
struct AnyRequest {
    kind: u8,
    numbers: (u64, u64),
    text: String,
    params: Vec<OwnedParam>,
}

impl AnyRequest {
    fn with<T>(&self, use_it: impl FnOnce(Request<'_>) -> T) -> T {
        let params: Vec<Param<'_>> = self.params.iter().map(OwnedParam::borrow).collect();
        let params = || params.clone().into();
        let (first, second) = self.numbers;
        let (db, statement) = (first as u32, second as u32);
        let text = self.text.as_str();
        use_it(match self.kind {
            0 => Request::Leader,
            1 => Request::Client { id: first },
            2 => Request::Open { name: text },
            3 => Request::Prepare {
                db: first,
                sql: text,
            },
            4 => Request::Exec {
                db,
                statement,
                params: params(),
            },
            5 => Request::Query {
                db,
                statement,
                params: params(),
            },
            6 => Request::Finalize { db, statement },
            7 => Request::ExecSql {
                db: first,
                sql: text,
                params: params(),
            },
            8 => Request::QuerySql {
                db: first,
                sql: text,
                params: params(),
            },
            9 => Request::Interrupt { db: first },
            10 => Request::Connect {
                id: NodeId::new(first),
                address: text,
            },
            11 => Request::Add {
                id: NodeId::new(first),
                address: text,
            },
            12 => Request::Assign {
                id: NodeId::new(first),
                role: second,
            },
            13 => Request::Remove {
                id: NodeId::new(first),
            },
            14 => Request::Dump { name: text },
            15 => Request::Cluster { format: first },
            16 => Request::Transfer {
                id: NodeId::new(first),
            },
            17 => Request::Describe { format: first },
            _ => Request::Weight { weight: first },
        })
    }

    fn encoded(&self) -> BytesMut {
        let mut out = BytesMut::new();
        self.with(|request| request.encode(&mut out)).unwrap();
        out
    }
}

fn request() -> impl Strategy<Value = AnyRequest> {
    (0..19u8, any::<(u64, u64)>(), text(), params()).prop_map(|(kind, numbers, text, params)| {
        AnyRequest {
            kind,
            numbers,
            text,
            params,
        }
    })
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::Integer),
        any::<f64>().prop_map(Value::Float),
        text().prop_map(Value::Text),
        blob().prop_map(|blob| Value::Blob(blob.into())),
        Just(Value::Null),
        text().prop_map(Value::Iso8601),
        any::<i64>().prop_map(Value::UnixTime),
        any::<bool>().prop_map(Value::Boolean),
    ]
}

fn rows_part() -> impl Strategy<Value = RowsPart> {
    (1..20usize, any::<bool>()).prop_flat_map(|(width, more)| {
        let rows = vec(vec(value(), width).prop_map(Row), usize::from(more)..8);
        (vec(text(), width), rows).prop_map(move |(columns, rows)| RowsPart {
            columns,
            rows,
            more,
        })
    })
}

fn server() -> impl Strategy<Value = Server> {
    let role = prop_oneof![Just(Role::Voter), Just(Role::StandBy), Just(Role::Spare)];
    (any::<u64>(), text(), role).prop_map(|(id, address, role)| Server {
        id: NodeId::new(id),
        address,
        role,
    })
}

fn file() -> impl Strategy<Value = File> {
    (text(), blob()).prop_map(|(name, data)| File {
        name,
        data: data.into(),
    })
}

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        (0..1u64 << 56, text())
            .prop_map(|(code, message)| Reply::Failure(Failure { code, message })),
        (any::<u64>(), text()).prop_map(|(id, address)| Reply::Server {
            id: NodeId::new(id),
            address,
        }),
        any::<u64>().prop_map(|heartbeat_timeout_ms| Reply::Welcome {
            heartbeat_timeout_ms
        }),
        vec(server(), 0..6).prop_map(Reply::Servers),
        any::<u32>().prop_map(|id| Reply::Database { id }),
        any::<(u32, u32, u64)>().prop_map(|(db, id, params)| Reply::Statement { db, id, params }),
        any::<(u64, u64)>().prop_map(|(last_insert_rowid, rows_affected)| Reply::Result {
            last_insert_rowid,
            rows_affected
        }),
        rows_part().prop_map(Reply::Rows),
        Just(Reply::Empty),
        vec(file(), 0..4).prop_map(Reply::Files),
        any::<(u64, u64)>().prop_map(|(failure_domain, weight)| Reply::Metadata {
            failure_domain,
            weight
        }),
    ]
}

fn encoded_reply(reply: &Reply) -> BytesMut {
    let mut out = BytesMut::new();
    reply.encode(&mut out).unwrap();
    out
}

/// The header and body of a frame that must be exactly as long as its header says.
fn split(frame: BytesMut) -> (Header, Bytes) {
    let header = Header::decode(&frame).unwrap();
    let body = frame.freeze().slice(Header::BYTES..);
    assert_eq!(body.len(), header.body_bytes());
    (header, body)
}

/// Decodes `body` as everything it could be, within the bound on memory.
fn decode_hostile(kind: u8, schema: u8, width: usize, body: &Bytes) {
    let header = Header {
        words: (body.len() / 8) as u32,
        kind,
        schema,
    };
    let limit = body.len() * DECODE_EXPANSION + DECODE_BASE_BYTES;
    let (_, reply_peak) = peak_of(|| Reply::decode(&header, body).is_ok());
    let (_, rows_peak) = peak_of(|| RowsPart::decode_next(body, width).is_ok());
    let (_, request_peak) = peak_of(|| Request::decode(&header, body).is_ok());
    let peak = reply_peak.max(rows_peak).max(request_peak);
    assert!(
        peak <= limit,
        "decoding {} bytes allocated {peak}, limit {limit}",
        body.len()
    );
}

proptest! {
    #[test]
    fn request_decodes_to_itself(request in request()) {
        let (header, body) = split(request.encoded());
        request.with(|sent| {
            assert_eq!(header.kind, sent.kind() as u8);
            assert_eq!(Request::decode(&header, &body), Ok(sent));
        });
    }

    #[test]
    fn reply_decodes_to_itself(reply in reply()) {
        let (header, body) = split(encoded_reply(&reply));
        prop_assert_eq!(Reply::decode(&header, &body), Ok(reply));
    }

    #[test]
    fn later_part_decodes_to_its_rows(part in rows_part()) {
        let (_, body) = split(encoded_reply(&Reply::Rows(part.clone())));
        let width = part.columns.len();
        prop_assert_eq!(RowsPart::decode_next(&body, width), Ok((part.rows, part.more)));
        prop_assert!(RowsPart::decode_next(&body, width + 1).is_err());
    }

    #[test]
    fn truncated_reply_is_refused(reply in reply(), keep in any::<prop::sample::Index>()) {
        // A failure is read from its end, and its message may hold what looks like another one.
        prop_assume!(!matches!(reply, Reply::Failure(_)));
        let (header, body) = split(encoded_reply(&reply));
        let cut = body.slice(..keep.index(body.len()));
        prop_assert!(Reply::decode(&header, &cut).is_err());
    }

    #[test]
    fn random_bytes_are_survived(
        kind in 0..22u8, schema in 0..3u8, width in 0..40usize, body in vec(any::<u8>(), 0..600)
    ) {
        decode_hostile(kind, schema, width, &body.into());
    }

    /// Random small words reach deeper than random bytes: they pass for counts, lengths and types.
    #[test]
    fn random_words_are_survived(
        kind in 0..22u8, schema in 0..2u8, width in 0..40usize,
        words in vec(prop_oneof![0..40u64, any::<u64>(), Just(u64::MAX)], 0..200)
    ) {
        let body: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        decode_hostile(kind, schema, width, &body.into());
    }

    #[test]
    fn mutated_messages_are_survived(
        frame in prop_oneof![
            request().prop_map(|request| request.encoded()),
            reply().prop_map(|reply| encoded_reply(&reply)),
        ],
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        width in 0..20usize,
    ) {
        let (header, body) = split(frame);
        let mut body = body.to_vec();
        body.truncate(cut.index(body.len() + 1));
        for (at, byte) in changes {
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] = byte;
            }
        }
        decode_hostile(header.kind, header.schema, width, &body.into());
    }
}

fn frame_of_words(kind: u8, words: &[u64]) -> (Header, Bytes) {
    let body: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    (
        Header {
            words: words.len() as u32,
            kind,
            schema: 0,
        },
        body.into(),
    )
}

#[test]
fn counts_and_lengths_beyond_the_message_are_refused() {
    const SERVERS: u8 = 3;
    const FILES: u8 = 9;
    for count in [2, 1 << 20, 1 << 61, u64::MAX] {
        for kind in [SERVERS, FILES, RowsPart::KIND] {
            let (header, body) = frame_of_words(kind, &[count, 0]);
            assert!(
                Reply::decode(&header, &body).is_err(),
                "kind {kind}, count {count}"
            );
        }
        // One file with an empty name and that many bytes.
        let (header, body) = frame_of_words(FILES, &[1, 0, count]);
        assert!(
            Reply::decode(&header, &body).is_err(),
            "file of {count} bytes"
        );
    }
}

#[test]
fn rows_of_no_columns_end() {
    let (header, body) = frame_of_words(RowsPart::KIND, &[0, u64::MAX]);
    let empty = RowsPart {
        columns: vec![],
        rows: vec![],
        more: false,
    };
    assert_eq!(Reply::decode(&header, &body), Ok(Reply::Rows(empty)));
    let (header, body) = frame_of_words(RowsPart::KIND, &[0, 5, u64::MAX]);
    assert!(Reply::decode(&header, &body).is_err());
}

#[test]
fn part_without_rows_that_promises_more_is_refused() {
    let part = RowsPart {
        columns: vec!["name".into()],
        rows: vec![],
        more: true,
    };
    let (header, body) = split(encoded_reply(&Reply::Rows(part)));
    assert_eq!(Reply::decode(&header, &body), Err(WireError::EmptyRowsPart));
    assert_eq!(
        RowsPart::decode_next(&body, 1),
        Err(WireError::EmptyRowsPart)
    );
}

#[test]
fn failure_after_the_first_rows_is_read_from_the_end() {
    let part = RowsPart {
        columns: vec!["abs(x)".into()],
        rows: vec![Row(vec![Value::Integer(7)])],
        more: false,
    };
    let (_, rows) = split(encoded_reply(&Reply::Rows(part)));
    for message in [
        "",
        "integer",
        "overflow",
        "integer overflow",
        "integer overflow.",
    ] {
        let failure = Reply::Failure(Failure {
            code: 1,
            message: message.into(),
        });
        let (header, body) = split(encoded_reply(&failure));
        let both = Bytes::from([&rows[..rows.len() - 8], &body[..]].concat());
        assert_eq!(Reply::decode(&header, &both), Ok(failure));
    }
}

#[test]
fn text_that_is_not_utf8_arrives_as_blob() {
    const TEXT: u64 = 3;
    let raw = u64::from_le_bytes(*b"\xff\xfeab\0\0\0\0");
    let (_, body) = frame_of_words(RowsPart::KIND, &[1, 0, TEXT, raw, u64::MAX]);
    let (rows, _) = RowsPart::decode_next(&body, 1).unwrap();
    assert_eq!(rows[0][0], Value::Blob(Bytes::from_static(b"\xff\xfeab")));
}

#[test]
fn unfaithful_requests_are_refused_and_leave_the_buffer() {
    let mut out = BytesMut::from(&b"before"[..]);
    let nul = Request::Prepare {
        db: 0,
        sql: "SELECT 1;\0 DROP TABLE t",
    };
    assert_eq!(nul.encode(&mut out), Err(WireError::NulInText));
    let params = [Param::Integer(1), Param::Text("a\0b")];
    let nul = Request::Exec {
        db: 0,
        statement: 0,
        params: (&params[..]).into(),
    };
    assert_eq!(nul.encode(&mut out), Err(WireError::NulInText));
    let many = vec![Param::Null; MAX_PARAMS + 1];
    let many = Request::Exec {
        db: 0,
        statement: 0,
        params: many.into(),
    };
    assert!(matches!(
        many.encode(&mut out),
        Err(WireError::TooLarge { .. })
    ));
    let half = vec![0; 130 << 20];
    let large = [Param::Blob(&half), Param::Blob(&half)];
    let large = Request::Exec {
        db: 0,
        statement: 0,
        params: (&large[..]).into(),
    };
    assert!(matches!(
        large.encode(&mut out),
        Err(WireError::TooLarge { .. })
    ));
    assert_eq!(out, b"before"[..]);
}

#[test]
fn batch_of_rows_is_encoded_without_allocating() {
    let value = vec![7; 2048];
    let row = [
        Param::Integer(1),
        Param::Blob(b"/registry/pods/default/name"),
        Param::Integer(0),
        Param::Integer(2),
        Param::Integer(3),
        Param::Null,
        Param::Integer(4),
        Param::Blob(&value),
    ];
    let params = row.repeat(256);
    let request = Request::Exec {
        db: 0,
        statement: 3,
        params: (&params[..]).into(),
    };
    let mut out = BytesMut::with_capacity(1 << 20);
    let (result, peak) = peak_of(|| request.encode(&mut out));
    assert_eq!((result, peak), (Ok(()), 0));
    // The layout that the server reads: a count of four bytes from 256 parameters on.
    assert_eq!(out[5], 1);
    out.put_u8(0);
    assert_eq!(out[16..20], 2048u32.to_le_bytes());
}
