//! The payloads: valid requests that were damaged, frames that lie, and requests of extreme shapes.

use bytes::{BufMut, Bytes, BytesMut};
use etcd_proto::etcdserverpb::compare::{CompareResult, CompareTarget};
use etcd_proto::etcdserverpb::*;
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, RngCore};

use crate::differential::valid_request;
use crate::harness::*;

/// The varint of 2^64 - 1, and one that never ends.
const HUGE_VARINTS: [&[u8]; 2] = [&[0xff; 9], &[0xff; 40]];

pub fn frame(flag: u8, len: u32, message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(flag);
    frame.put_u32(len);
    frame.put_slice(message);
    frame.freeze()
}

/// One to three frames, of which most are right, so that their content is looked at.
pub fn body(method: &str, random: &mut StdRng) -> Bytes {
    let mut body = BytesMut::new();
    for _ in 0..random.random_range(1..4) {
        let message = message(method, random);
        let len = message.len() as u32;
        let flag = match random.random_range(0..12) {
            0 => random.random(),
            1 => 1,
            _ => 0,
        };
        let len = match random.random_range(0..12) {
            0 => random.random(),
            1 => len.saturating_sub(1),
            2 => len + 1,
            _ => len,
        };
        body.put_slice(&frame(flag, len, &message));
    }
    if random.random_bool(0.05) {
        body.truncate(random.random_range(0..body.len()));
    }
    body.freeze()
}

fn message(method: &str, random: &mut StdRng) -> Vec<u8> {
    match random.random_range(0..8) {
        0 => Vec::new(),
        1 => {
            let mut bytes = vec![0; random.random_range(1..200)];
            random.fill_bytes(&mut bytes);
            bytes
        }
        _ => {
            let mut bytes = valid_request(method, random);
            for _ in 0..random.random_range(0..4) {
                damage(&mut bytes, random);
            }
            bytes
        }
    }
}

fn damage(bytes: &mut Vec<u8>, random: &mut StdRng) {
    if bytes.is_empty() {
        return bytes.push(random.random());
    }
    let at = random.random_range(0..bytes.len());
    match random.random_range(0..6) {
        0 => bytes[at] = random.random(),
        1 => bytes[at] ^= 1 << random.random_range(0..8),
        2 => bytes.truncate(at),
        3 => {
            let piece = bytes[at..].to_vec();
            bytes.extend(piece);
        }
        4 => {
            let varint = HUGE_VARINTS[random.random_range(0..HUGE_VARINTS.len())];
            bytes.splice(at..at, varint.iter().copied());
        }
        _ => drop(bytes.remove(at)),
    }
}

/// A transaction within one within one, without building it as messages: those would be dropped by
/// recursion here.
fn nested_txn(depth: usize) -> Vec<u8> {
    // Written from its end to its beginning, so that each length is known.
    let mut reversed: Vec<u8> = Vec::new();
    for _ in 0..depth {
        // RequestOp.request_txn in TxnRequest.success.
        for tag in [4 << 3 | 2, 2 << 3 | 2] {
            let mut len = Vec::new();
            prost::encoding::encode_varint(reversed.len() as u64, &mut len);
            reversed.extend(len.iter().rev());
            reversed.push(tag);
        }
    }
    reversed.reverse();
    reversed
}

/// Each with a name, the method it is for, and the code that answers it.
pub fn extremes() -> Vec<(&'static str, &'static str, Vec<u8>, &'static str)> {
    const TXN: &str = "/etcdserverpb.KV/Txn";
    const PUT: &str = "/etcdserverpb.KV/Put";
    const OK: &str = "0";
    const INVALID_ARGUMENT: &str = "3";
    const INTERNAL: &str = "13";
    let many = 100_000;
    let compares = TxnRequest {
        compare: vec![version("k", 0); many],
        ..Default::default()
    };
    let puts = (0..many).fold(txn(), |txn, index| txn.then(put(index.to_string(), "")));
    let odd_enums = TxnRequest {
        compare: vec![
            Compare {
                result: i32::MIN,
                target: i32::MAX,
                ..version("k", 0)
            },
            Compare {
                result: CompareResult::Less.into(),
                target: CompareTarget::Value.into(),
                ..version("k", 0)
            },
        ],
        ..Default::default()
    };
    let long_key = "k".repeat(1 << 20);
    vec![
        ("nested 40 deep", TXN, nested_txn(40), OK),
        ("nested 120 deep", TXN, nested_txn(120), INTERNAL),
        ("nested 5,000 deep", TXN, nested_txn(5_000), INTERNAL),
        ("nested 150,000 deep", TXN, nested_txn(150_000), INTERNAL),
        (
            "many compares",
            TXN,
            compares.encode_to_vec(),
            INVALID_ARGUMENT,
        ),
        ("many puts", TXN, puts.encode_to_vec(), INVALID_ARGUMENT),
        ("odd enums", TXN, odd_enums.encode_to_vec(), OK),
        ("a long key", PUT, put(long_key, "").encode_to_vec(), OK),
        ("unknown groups", TXN, vec![0x0b; 1 << 20], INTERNAL),
        ("groups that end", TXN, vec![0x0c; 1 << 20], INTERNAL),
        (
            "only empty operations",
            TXN,
            [0x12, 0].repeat(500_000),
            INVALID_ARGUMENT,
        ),
        (
            "only empty compares",
            TXN,
            [0x0a, 0].repeat(500_000),
            INVALID_ARGUMENT,
        ),
    ]
}
