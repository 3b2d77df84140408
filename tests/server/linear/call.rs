//! Sends calls and records what came of them.

use std::time::Duration;

use etcd_proto::etcdserverpb::compare::CompareResult;
use etcd_proto::etcdserverpb::response_op::Response;
use etcd_proto::etcdserverpb::*;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::history::{Answer, Call, Expected, Operation};
use super::run::Run;
use crate::harness::*;

/// The time after which a client stops waiting for an answer; the request may still be carried out.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(4);

/// The pause of a client that was refused, so that a dead node costs no processor time.
const AFTER_ERROR: Duration = Duration::from_millis(20);

/// Errors that say for sure that nothing was done.
fn is_refusal(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::OutOfRange | Code::NotFound | Code::InvalidArgument | Code::FailedPrecondition
    )
}

/// Calls a node; records it unless it was refused.
pub async fn call(run: &Run, api: &Api, node: usize, call: Call) -> Option<Answer> {
    let invoked = run.now();
    let sent = timeout(CALL_TIMEOUT, send(api, &call)).await;
    let answer = match sent {
        Ok(Ok(answer)) => Some(Answer {
            returned: run.now(),
            ..answer
        }),
        Ok(Err(status)) => {
            tokio::time::sleep(AFTER_ERROR).await;
            if is_refusal(&status) {
                return None;
            }
            None
        }
        Err(_) => None,
    };
    run.record(Operation {
        node,
        call,
        invoked,
        answer: answer.clone(),
    });
    answer
}

async fn send(api: &Api, call: &Call) -> Result<Answer, Status> {
    match call.clone() {
        Call::Put { key, value, lease } => {
            let request = PutRequest {
                lease,
                prev_kv: true,
                ..put(key, value)
            };
            let answer = api.try_ask(request).await?;
            let kvs: Vec<_> = answer.prev_kv.into_iter().collect();
            Ok(Answer {
                revision: at(&answer.header),
                count: kvs.len() as i64,
                kvs,
                ..Default::default()
            })
        }
        Call::Swap {
            key,
            expected,
            value: new,
        } => {
            let compare = match expected {
                Expected::ModRevision(revision) => mod_revision(key.clone(), revision),
                Expected::Value(expected) => value(key.clone(), expected),
            };
            let request = txn()
                .when(compare.is(CompareResult::Equal))
                .then(put(key.clone(), new))
                .or_else(get(key));
            let answer = api.try_ask(request).await?;
            let (kvs, count) = if answer.succeeded {
                Default::default()
            } else {
                let found = range_answer(&answer, 0);
                (found.kvs.clone(), found.count)
            };
            Ok(Answer {
                revision: at(&answer.header),
                succeeded: answer.succeeded,
                kvs,
                count,
                ..Default::default()
            })
        }
        Call::Several {
            written: [first, second],
            deleted,
            value,
        } => {
            let request = txn()
                .then(put(first, value.clone()))
                .then(put(second, value))
                .then(delete(deleted));
            let answer = api.try_ask(request).await?;
            Ok(Answer {
                revision: at(&answer.header),
                ..Default::default()
            })
        }
        Call::Delete { key, range_end } => {
            let request = DeleteRangeRequest {
                range_end,
                prev_kv: true,
                ..delete(key)
            };
            let answer = api.try_ask(request).await?;
            Ok(Answer {
                revision: at(&answer.header),
                kvs: answer.prev_kvs,
                count: answer.deleted,
                ..Default::default()
            })
        }
        Call::Read(read) => {
            let request = RangeRequest {
                revision: read.revision,
                limit: read.limit,
                serializable: read.serializable,
                ..get_range(read.key, read.range_end)
            };
            // Some reads go the way of transactions.
            if read.limit == 1 {
                let answer = api.try_ask(txn().then(request)).await?;
                let Some(Response::ResponseRange(found)) = answer.responses[0].response.clone()
                else {
                    panic!("a range answers a range")
                };
                return Ok(found_at(at(&answer.header), found));
            }
            let answer = api.try_ask(request).await?;
            Ok(found_at(at(&answer.header), answer))
        }
        Call::Compact(revision) => {
            let answer = api.try_ask(compact(revision)).await?;
            Ok(Answer {
                revision: at(&answer.header),
                ..Default::default()
            })
        }
    }
}

fn found_at(revision: i64, found: RangeResponse) -> Answer {
    Answer {
        revision,
        kvs: found.kvs,
        count: found.count,
        ..Default::default()
    }
}
