//! Calls that write: each checks that it took effect.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use etcd_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use etcd_proto::etcdserverpb::request_op::Request;
use etcd_proto::etcdserverpb::response_op::Response;
use etcd_proto::etcdserverpb::{
    Compare, PutRequest, RangeRequest, RequestOp, TxnRequest, TxnResponse,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::Operation;
use crate::dataset::Dataset;
use crate::failure::{Failure, wrong};
use crate::keys::{KeyMaker, Values};
use crate::target::Kv;

/// A new key by the transaction that kube-apiserver creates objects with.
pub struct CreateTxn {
    keys: KeyMaker,
    values: Values,
    rng: SmallRng,
}

impl CreateTxn {
    pub fn new(values: Values) -> Self {
        CreateTxn {
            keys: KeyMaker::new(),
            values,
            rng: SmallRng::from_os_rng(),
        }
    }
}

impl Operation for CreateTxn {
    async fn call(&mut self, kv: &mut Kv) -> Result<(), Failure> {
        let key = self.keys.anywhere();
        let request = put_if(key, 0, self.values.pick(&mut self.rng), Vec::new());
        let answer = kv.txn(request).await?.into_inner();
        if !answer.succeeded {
            return wrong("the create transaction of a new key did not succeed");
        }
        put_revision(&answer).map(drop)
    }
}

/// A new key by a plain put.
pub struct Put {
    keys: KeyMaker,
    values: Values,
    rng: SmallRng,
}

impl Put {
    pub fn new(values: Values) -> Self {
        Put {
            keys: KeyMaker::new(),
            values,
            rng: SmallRng::from_os_rng(),
        }
    }
}

impl Operation for Put {
    async fn call(&mut self, kv: &mut Kv) -> Result<(), Failure> {
        let (key, value) = (self.keys.anywhere(), self.values.pick(&mut self.rng));
        let answer = kv
            .put(PutRequest {
                key,
                value,
                ..Default::default()
            })
            .await?
            .into_inner();
        match answer.header {
            Some(header) if header.revision > 0 => Ok(()),
            _ => wrong("a put was answered without a revision"),
        }
    }
}

/// A new value by the transaction that kube-apiserver updates objects with. Every client has its own
/// keys, so each comparison must hold.
pub struct Update {
    data: Arc<Dataset>,
    values: Values,
    client: usize,
    clients: usize,
    rng: SmallRng,
}

impl Update {
    pub fn new(data: Arc<Dataset>, values: Values, client: usize, clients: usize) -> Self {
        Update {
            data,
            values,
            client,
            clients,
            rng: SmallRng::from_os_rng(),
        }
    }

    fn pick(&mut self) -> usize {
        let own = (self.data.keys.len() - self.client).div_ceil(self.clients);
        self.client + self.rng.random_range(0..own) * self.clients
    }
}

impl Operation for Update {
    async fn call(&mut self, kv: &mut Kv) -> Result<(), Failure> {
        let index = self.pick();
        let key = self.data.keys[index].clone();
        let known: &AtomicI64 = &self.data.revisions[index];
        let revision = known.load(Ordering::Relaxed);
        let otherwise = Request::RequestRange(RangeRequest {
            key: key.clone(),
            ..Default::default()
        });
        let value = self.values.pick(&mut self.rng);
        let answer = kv
            .txn(put_if(key, revision, value, vec![op(otherwise)]))
            .await?
            .into_inner();
        if !answer.succeeded {
            // After an answer that never came the write may have happened: go on from what is there.
            if let Some(found) = found_revision(&answer) {
                known.store(found, Ordering::Relaxed);
            }
            return wrong("the update of a key at its known revision did not succeed");
        }
        let written = put_revision(&answer)?;
        if written <= revision {
            return wrong("an update did not raise the revision");
        }
        known.store(written, Ordering::Relaxed);
        Ok(())
    }
}

fn op(request: Request) -> RequestOp {
    RequestOp {
        request: Some(request),
    }
}

fn put_if(key: Bytes, mod_revision: i64, value: Bytes, failure: Vec<RequestOp>) -> TxnRequest {
    let compare = Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        key: key.clone(),
        target_union: Some(TargetUnion::ModRevision(mod_revision)),
        ..Default::default()
    };
    let put = Request::RequestPut(PutRequest {
        key,
        value,
        ..Default::default()
    });
    TxnRequest {
        compare: vec![compare],
        success: vec![op(put)],
        failure,
    }
}

/// The revision that a successful transaction with one put was given.
fn put_revision(answer: &TxnResponse) -> Result<i64, Failure> {
    match (&answer.header, &answer.responses[..]) {
        (Some(header), [only])
            if header.revision > 0 && matches!(only.response, Some(Response::ResponsePut(_))) =>
        {
            Ok(header.revision)
        }
        _ => wrong("a transaction with one put was not answered with a revision and one put"),
    }
}

fn found_revision(answer: &TxnResponse) -> Option<i64> {
    match answer.responses.first()?.response.as_ref()? {
        Response::ResponseRange(range) => range.kvs.first().map(|kv| kv.mod_revision),
        _ => None,
    }
}
