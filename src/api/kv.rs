//! The KV service.

use std::{pin::Pin, sync::Arc};

use etcd_proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
    PutResponse, RangeRequest, RangeResponse, RangeStreamResponse, ResponseHeader, TxnRequest,
    TxnResponse, kv_server::Kv,
};
use etcd_state::{
    auth::{AuthError, Caller, Rules},
    mvcc::Revision,
    requests::{RequestError, check_delete_range, check_put, check_range, check_txn},
};
use prost::Message;
use telemetry::tracing::{Reading, set_subject};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use super::{
    Identity,
    access::Access,
    client_name::client_name,
    compression::{answer, is_compressed},
    status::{check_received, status},
};
use crate::{
    compact::ClientCompactions,
    store::Store,
    top::{ClientName, Clients, Operation, TxnOperations},
};

pub struct KvService {
    pub store: Store,
    pub identity: Arc<Identity>,
    pub compactions: Arc<ClientCompactions>,
    pub access: Arc<Access>,
    pub clients: Arc<Clients>,
}

impl KvService {
    fn client<T>(&self, request: &Request<T>) -> ClientName {
        client_name(&self.access, request.metadata(), request.extensions())
    }

    /// Counts a request, if somebody looks at what clients do.
    fn count<'a, T>(&self, request: &'a Request<T>)
    where
        Operation<'a>: From<&'a T>,
    {
        let counting = &self.clients.counting;
        if counting.is_on() {
            let operation = Operation::from(request.get_ref());
            counting.count(|| self.client(request), [operation]);
        }
    }

    /// Returns the store for what the caller may do. A request with another fault is refused for that
    /// first, as in etcd.
    fn permit<T>(
        &self,
        request: &Request<T>,
        validate: impl FnOnce(&T) -> Result<(), RequestError>,
        check: impl FnOnce(&Caller, &T) -> Result<(), AuthError>,
    ) -> Result<Store, Status> {
        let store = self.access.gate(&self.store);
        if !self.access.is_enabled() {
            return Ok(store);
        }
        validate(request.get_ref()).map_err(status)?;
        let refuse = |error| status(RequestError::Auth(error));
        let Some(caller) = self.access.caller(request).map_err(refuse)? else {
            return Ok(store);
        };
        check(&caller, request.get_ref()).map_err(refuse)?;
        Ok(store.sent_by(caller.as_sender()))
    }

    /// Refuses a range that its sender may not have, and returns the rules that let it in, or older ones. A linearizable one with
    /// a token of rules that this node has not heard of waits until it has.
    async fn permit_range(&self, request: &Request<RangeRequest>) -> Result<Arc<Rules>, Status> {
        let is_serializable = request.get_ref().serializable;
        if !is_serializable && self.access.is_behind(request.metadata().as_ref()) {
            self.store.linearize().await.map_err(status)?;
        }
        let rules = self.access.rules.load_full();
        self.check_range(request)?;
        Ok(rules)
    }

    fn check_range(&self, request: &Request<RangeRequest>) -> Result<(), Status> {
        self.permit(request, check_range, |caller, range| {
            caller.check_read(&range.key, &range.range_end)?;
            caller.check_current()
        })?;
        Ok(())
    }

    /// Reads, and refuses after all if the rules have changed since: what was read may have been written after its reader
    /// lost the permission. A store shows rules before what was written under them.
    fn read<T>(
        &self,
        request: &Request<RangeRequest>,
        permitted_by: &Arc<Rules>,
        read: impl FnOnce() -> Result<T, RequestError>,
    ) -> Result<T, Status> {
        let found = read();
        if !Arc::ptr_eq(permitted_by, &self.access.rules.load()) {
            self.check_range(request)?;
        }
        found.map_err(status)
    }

    /// Waits until this node has all that was committed, unless the client does without.
    async fn linearize(&self, request: &RangeRequest) -> Result<(), Status> {
        match request.serializable {
            true => Ok(()),
            false => self.store.linearize().await.map_err(status),
        }
    }

    /// Completes the header of which the store knows the revision.
    fn complete(&self, header: &mut Option<ResponseHeader>) {
        let revision = header.as_ref().map_or(0, |header| header.revision);
        *header = Some(self.identity.header(Revision::new(revision)));
    }
}

#[tonic::async_trait]
impl Kv for KvService {
    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        let rules = self.permit_range(&request).await?;
        self.count(&request);
        let mut reading = Reading::begin(request.get_ref());
        self.linearize(request.get_ref()).await?;
        reading.confirmed();
        let mut response = self.read(&request, &rules, || self.store.range(request.get_ref()))?;
        reading.found(response.kvs.len());
        self.complete(&mut response.header);
        answer(response, is_compressed(request.metadata()))
    }

    type RangeStreamStream =
        Pin<Box<dyn Stream<Item = Result<RangeStreamResponse, Status>> + Send>>;

    async fn range_stream(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        let rules = self.permit_range(&request).await?;
        self.count(&request);
        self.linearize(request.get_ref()).await?;
        let chunks = self.read(&request, &rules, || {
            self.store.range_stream(request.get_ref().clone())
        })?;
        let identity = self.identity.clone();
        let messages = tokio_stream::iter(chunks).map(move |mut response| {
            if let Some(header) = &mut response.header {
                *header = identity.header(Revision::new(header.revision));
            }
            Ok(RangeStreamResponse {
                range_response: Some(response),
            })
        });
        let mut response: Response<Self::RangeStreamStream> = Response::new(Box::pin(messages));
        // Together they may have any size.
        response.disable_compression();
        Ok(response)
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        check_received(request.get_ref().encoded_len(), self.store.limits())?;
        let store = self.permit(&request, check_put, |caller, put| {
            caller.check_put(put, &|id| self.store.leased_keys(id))
        })?;
        self.count(&request);
        set_subject(request.get_ref());
        let mut response = store.put(request.into_inner()).await.map_err(status)?;
        self.complete(&mut response.header);
        Ok(Response::new(response))
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let store = self.permit(&request, check_delete_range, |caller, delete| {
            caller.check_delete_range(delete)
        })?;
        self.count(&request);
        set_subject(request.get_ref());
        let is_compressed = is_compressed(request.metadata());
        let request = request.into_inner();
        let mut response = store.delete_range(request).await.map_err(status)?;
        self.complete(&mut response.header);
        answer(response, is_compressed)
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        check_received(request.get_ref().encoded_len(), self.store.limits())?;
        let max_operations = self.store.limits().max_txn_operations;
        let validate = |txn: &TxnRequest| check_txn(txn, max_operations);
        let store = self.permit(&request, validate, |caller, txn| {
            caller.check_txn(txn, &|id| self.store.leased_keys(id))
        })?;
        set_subject(request.get_ref());
        let is_compressed = is_compressed(request.metadata());
        let counting = &self.clients.counting;
        let counted = counting
            .is_on()
            .then(|| (self.client(&request), TxnOperations::of(request.get_ref())));
        let mut response = store.txn(request.into_inner()).await.map_err(status)?;
        if let Some((client, operations)) = counted {
            counting.count(|| client, operations.done(response.succeeded));
        }
        self.complete(&mut response.header);
        answer(response, is_compressed)
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        let store = self.permit(&request, |_| Ok(()), |caller, _| caller.check_admin())?;
        let CompactionRequest { revision, physical } = request.into_inner();
        self.compactions.note();
        let revision = Revision::new(revision);
        let compacted = store.compact(revision, physical).await.map_err(status)?;
        let header = Some(self.identity.header(compacted.revision));
        Ok(Response::new(CompactionResponse { header }))
    }
}
