//! Sends the same requests as JSON, some of them damaged, through both gateways.

use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::operation::Operation;
use super::pair::Pair;
use super::{SEED, from_environment, generate};
use crate::gateway::client;
use crate::harness::Server;

/// About five seconds.
const SEQUENCES: u64 = 30;

/// The path below `/v3/`, and the message; none for what has no JSON of one answer, or answers that
/// no two servers have in common.
fn call(operation: &Operation) -> Option<(&'static str, &'static str)> {
    Some(match operation {
        Operation::Range(_) => ("kv/range", "RangeRequest"),
        Operation::Put(_) => ("kv/put", "PutRequest"),
        Operation::DeleteRange(_) => ("kv/deleterange", "DeleteRangeRequest"),
        Operation::Txn(_) => ("kv/txn", "TxnRequest"),
        Operation::Compact(_) => ("kv/compaction", "CompactionRequest"),
        Operation::LeaseRevoke(_) => ("lease/revoke", "LeaseRevokeRequest"),
        Operation::HashKv(_) => ("maintenance/hashkv", "HashKVRequest"),
        _ => return None,
    })
}

fn as_json(random: &mut StdRng, message: &str, operation: &Operation) -> Value {
    let pool = DescriptorPool::decode(etcd_proto::FILE_DESCRIPTOR_SET).unwrap();
    let message = pool
        .get_message_by_name(&format!("etcdserverpb.{message}"))
        .unwrap();
    let message = DynamicMessage::decode(message, &operation.encode()[..]).unwrap();
    let options = SerializeOptions::new()
        .stringify_64_bit_integers(random.random_bool(0.8))
        .use_enum_numbers(random.random_bool(0.3))
        .use_proto_field_name(random.random_bool(0.5))
        .skip_default_fields(random.random_bool(0.7));
    message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .unwrap()
}

/// Puts something else in place of one value somewhere.
fn damage(random: &mut StdRng, value: &mut Value) {
    let goes_deeper = random.random_bool(0.8);
    match value {
        Value::Object(fields) if goes_deeper && !fields.is_empty() => {
            let index = random.random_range(0..fields.len());
            let field = fields.values_mut().nth(index).expect("counted");
            return damage(random, field);
        }
        Value::Array(items) if goes_deeper && !items.is_empty() => {
            let index = random.random_range(0..items.len());
            return damage(random, &mut items[index]);
        }
        Value::Object(fields) => {
            let name = ["key", "KEY", "rangeEnd", "range_end", "no_such_field"];
            let name = name.choose(random).expect("there is one");
            fields.insert((*name).to_owned(), json!("YQ=="));
            return;
        }
        _ => {}
    }
    let others = [
        json!(null),
        json!(true),
        json!("true"),
        json!(0),
        json!(-1),
        json!(1.0),
        json!(1.5),
        json!("1"),
        json!("1.0"),
        json!(" 1"),
        json!("1e1"),
        json!(u64::MAX),
        json!("9223372036854775808"),
        json!(""),
        json!("YQ"),
        json!("_-8="),
        json!("Y Q="),
        json!("%%%"),
        json!("PUT"),
        json!([]),
        json!([null]),
        json!({}),
    ];
    *value = others.choose(random).expect("there is one").clone();
}

async fn post(server: &Server, path: &str, body: &[u8]) -> (u16, Value) {
    let answer = client::request(server, "POST", path, "", body).await;
    let mut json = serde_json::from_slice(&answer.body)
        .unwrap_or_else(|_| json!(String::from_utf8_lossy(&answer.body)));
    client::mask(&mut json);
    (answer.status, json)
}

/// Returns whether docs/compat.md, in `JSON gateway`, accepts the difference about malformed JSON.
fn is_accepted(body: &str, ours: &(u16, Value), etcd: &(u16, Value)) -> bool {
    let is_malformed = |answer: &(u16, Value)| {
        let text = answer.1["message"].as_str().unwrap_or_default();
        answer.0 == 400 && answer.1["code"] == 3 && !text.starts_with("etcdserver: ")
    };
    let text = etcd.1["message"].as_str().unwrap_or_default();
    let is_odd_number = ["1.0", "1e1"].iter().any(|number| body.contains(number));
    match (is_malformed(ours), is_malformed(etcd)) {
        (true, true) => true,
        (true, false) => is_odd_number,
        (false, true) => text.contains("duplicate field"),
        (false, false) => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_json_has_the_answers_of_etcds_gateway() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    let first = from_environment("FUZZ_SEED").unwrap_or(SEED);
    let sequences = from_environment("FUZZ_SEQUENCES").unwrap_or(SEQUENCES);
    let (mut calls, mut differences) = (0, Vec::new());
    for seed in first..first + sequences {
        let mut random = StdRng::seed_from_u64(seed);
        pair.reset().await;
        for operation in generate::sequence(&mut random) {
            let operation = operation.resolved(&pair.revisions, 0);
            let Some((path, message)) = call(&operation) else {
                continue;
            };
            if super::differences::may_diverge(&operation, &pair.revisions) {
                continue;
            }
            let mut body = as_json(&mut random, message, &operation);
            if random.random_bool(0.5) {
                damage(&mut random, &mut body);
            }
            let (path, body) = (format!("/v3/{path}"), body.to_string());
            let (ours, etcd) = tokio::join!(
                post(&pair.ours.server, &path, body.as_bytes()),
                post(&pair.etcd.server, &path, body.as_bytes()),
            );
            calls += 1;
            if ours != etcd && !is_accepted(&body, &ours, &etcd) {
                differences.push(format!(
                    "FUZZ_SEED={seed} {path}\n{body}\nhere: {ours:?}\netcd: {etcd:?}\n"
                ));
                break;
            }
            if let Some(revision) = etcd.1["header"]["revision"].as_str() {
                pair.revisions.current = revision.parse().unwrap();
            }
        }
    }
    println!("{calls} calls");
    assert!(calls > 0);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
