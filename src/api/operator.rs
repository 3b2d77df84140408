//! The Operator service: what operators ask beyond etcd's API. Behind the gate: while authentication is on, root's.

use std::sync::Arc;

use operator_proto::{TopRequest, TopResponse, operator_server::Operator};
use tonic::{Request, Response, Status};

use crate::top::{Query, Top};

pub struct OperatorService {
    pub top: Arc<Top>,
}

#[tonic::async_trait]
impl Operator for OperatorService {
    async fn top(&self, request: Request<TopRequest>) -> Result<Response<TopResponse>, Status> {
        let TopRequest { prefix, depth } = request.into_inner();
        let asked = self.top.look(Query::new(prefix, depth)).await;
        let answer = asked.map_err(|busy| Status::resource_exhausted(busy.to_string()))?;
        Ok(Response::new(Arc::unwrap_or_clone(answer)))
    }
}
