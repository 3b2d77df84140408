//! The KV service.

use std::{pin::Pin, sync::Arc};

use etcd_proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
    PutResponse, RangeRequest, RangeResponse, RangeStreamResponse, ResponseHeader, TxnRequest,
    TxnResponse, kv_server::Kv,
};
use prost::Message;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use super::{
    Identity,
    status::{check_received, status},
};
use crate::{compact::ClientCompactions, store::Store};

pub struct KvService {
    pub store: Store,
    pub identity: Arc<Identity>,
    pub compactions: Arc<ClientCompactions>,
}

impl KvService {
    /// Completes the header of which the store knows the revision.
    fn complete(&self, header: &mut Option<ResponseHeader>) {
        let revision = header.as_ref().map_or(0, |header| header.revision);
        *header = Some(self.identity.header(revision));
    }
}

#[tonic::async_trait]
impl Kv for KvService {
    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        let mut response = self.store.range(request.get_ref()).map_err(status)?;
        self.complete(&mut response.header);
        Ok(Response::new(response))
    }

    type RangeStreamStream =
        Pin<Box<dyn Stream<Item = Result<RangeStreamResponse, Status>> + Send>>;

    async fn range_stream(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        let chunks = self
            .store
            .range_stream(request.into_inner())
            .map_err(status)?;
        let identity = self.identity.clone();
        let messages = tokio_stream::iter(chunks).map(move |mut response| {
            if let Some(header) = &mut response.header {
                *header = identity.header(header.revision);
            }
            Ok(RangeStreamResponse {
                range_response: Some(response),
            })
        });
        Ok(Response::new(Box::pin(messages)))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        check_received(request.get_ref().encoded_len(), self.store.limits())?;
        let mut response = self.store.put(request.into_inner()).await.map_err(status)?;
        self.complete(&mut response.header);
        Ok(Response::new(response))
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let request = request.into_inner();
        let mut response = self.store.delete_range(request).await.map_err(status)?;
        self.complete(&mut response.header);
        Ok(Response::new(response))
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        check_received(request.get_ref().encoded_len(), self.store.limits())?;
        let mut response = self.store.txn(request.into_inner()).await.map_err(status)?;
        self.complete(&mut response.header);
        Ok(Response::new(response))
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        let CompactionRequest { revision, physical } = request.into_inner();
        self.compactions.note();
        self.store
            .compact(revision, physical)
            .await
            .map_err(status)?;
        let header = Some(self.identity.header(self.store.revision()));
        Ok(Response::new(CompactionResponse { header }))
    }
}
