//! Keeps those out of a service who may not use it. For services whose calls need no more than that;
//! the others ask for themselves, since what they need depends on the request.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use tonic::{
    Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
    metadata::MetadataMap,
    server::NamedService,
};

use super::{access::Access, status::status};
use crate::{auth::AuthError, store::RequestError};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    /// No wrong token; none is as good as a right one.
    NoWrongToken,
    Admin,
}

/// What a call needs while authentication is on, as in etcd (`api/v3rpc/maintenance.go`,
/// `etcdserver/server.go`).
fn need(path: &str) -> Need {
    let method = path.rsplit('/').next().unwrap_or_default();
    match method {
        "MemberList" | "Status" => Need::Nothing,
        "Alarm" => Need::NoWrongToken,
        _ => Need::Admin,
    }
}

#[derive(Clone)]
pub struct Gate<S> {
    pub access: Arc<Access>,
    pub inner: S,
}

impl<S> Gate<S> {
    fn check(&self, request: &http::Request<Body>) -> Result<(), AuthError> {
        let need = need(request.uri().path());
        if need == Need::Nothing || !self.access.is_enabled() {
            return Ok(());
        }
        let metadata = MetadataMap::from_headers(request.headers().clone());
        let Some(caller) = self.access.caller_of(&metadata, request.extensions())? else {
            return Ok(());
        };
        match need {
            Need::Nothing | Need::NoWrongToken => Ok(()),
            Need::Admin => caller.check_admin(),
        }
    }
}

impl<S: NamedService> NamedService for Gate<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Gate<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = BoxFuture<S::Response, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if let Err(error) = self.check(&request) {
            let refusal: Status = status(RequestError::Auth(error));
            return Box::pin(async move { Ok(refusal.into_http()) });
        }
        Box::pin(self.inner.call(request))
    }
}
